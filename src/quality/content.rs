//! What payloads say: images and states. Their thresholds depend on the robot, so none of these is a gate.

use super::case::{Case, Outcome, seconds};
use crate::domain::measurement::{Images, Joints, TopicFacts};

/// What this version does not measure.
pub fn not_yet(_: &Case) -> Outcome {
    Outcome::not_applicable("not measured by this version")
}

fn each_camera<'a>(case: &Case<'a>, of: impl Fn(&'a TopicFacts, &'a Images) -> Option<Outcome>) -> Outcome {
    let each = case.facts.topics.items.iter().filter_map(|topic| of(topic, topic.images.as_ref()?));
    Outcome::worst(each, "no images were read")
}

pub fn codec_header(case: &Case) -> Outcome {
    each_camera(case, |topic, images| {
        let looked_at = (images.jpeg + images.png + images.raw).max(images.bad);
        if looked_at == 0 {
            return None;
        }
        let share = images.bad as f64 / looked_at as f64;
        let text = match images.bad {
            0 => "every image is whole".to_owned(),
            bad => format!("{bad} of {looked_at} images of `{}` are not whole", topic.topic),
        };
        Some(Outcome::at_most(share, case.limit("pass_share"), case.limit("fail_share"), text).with("bad", images.bad))
    })
}

pub fn resolution(case: &Case) -> Outcome {
    each_camera(case, |topic, images| {
        (images.width > 0).then(|| match images.other_size {
            0 => Outcome::pass("each camera keeps its size"),
            other => Outcome::warn(
                0.0,
                format!("{other} images of `{}` have another size than {} × {}", topic.topic, images.width, images.height),
            ),
        })
    })
}

pub fn frozen(case: &Case) -> Outcome {
    each_camera(case, |topic, images| {
        let frozen = seconds(images.frozen_ns);
        let text = format!("`{}` shows the same image for {frozen:.2} s at most", topic.topic);
        Some(Outcome::at_most(frozen, below(case.limit("warn_s")), below(case.limit("fail_s")), text).with("frozen_s", frozen))
    })
}

pub fn h26x(case: &Case) -> Outcome {
    each_camera(case, |topic, images| {
        let video = images.video?;
        let longest = seconds(video.longest_without_key_ns);
        let name = &topic.topic;
        Some(if video.without_start_codes > 0 {
            Outcome::warn(0.0, format!("{} units of `{name}` are not in the form of Annex B", video.without_start_codes))
        } else if !video.begins_complete {
            Outcome::warn(0.0, format!("`{name}` does not begin with its parameter sets and a picture that stands alone"))
        } else {
            let text = format!("`{name}` begins complete, and is {longest:.1} s without a picture that stands alone at most");
            if longest <= case.limit("key_s") { Outcome::pass(text) } else { Outcome::warn(0.5, text) }
        })
        .map(|outcome| outcome.with("without_key_s", longest))
    })
}

/// So that the limit itself counts as reached.
fn below(limit: f64) -> f64 {
    limit.next_down()
}

fn each_arm<'a>(case: &Case<'a>, of: impl Fn(&'a TopicFacts, &'a Joints) -> Option<Outcome>) -> Outcome {
    let each = case.facts.topics.items.iter().filter_map(|topic| of(topic, topic.joints.as_ref()?));
    Outcome::worst(each, "no joints were read")
}

/// Of the messages of an arm: as of images, a hundredth.
const UNREAD_SHARE_MAX: f64 = 0.01;

pub fn finite(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let read = topic.count.max(1) as f64;
        Some(match (joints.not_finite, joints.not_finite_other) {
            // What cannot be read is no position.
            (0, _) if topic.unread > 0 => Outcome::at_most(
                topic.unread as f64 / read,
                0.0,
                UNREAD_SHARE_MAX,
                format!("{} of {} messages of `{}` cannot be read", topic.unread, topic.count, topic.topic),
            )
            .with("unread", topic.unread),
            (0, 0) => Outcome::pass("every position is a number"),
            (0, other) => {
                Outcome::warn(0.5, format!("{other} messages of `{}` have velocities or efforts that are no numbers", topic.topic))
            }
            (positions, _) => Outcome::fail(format!("{positions} messages of `{}` have positions that are no numbers", topic.topic)),
        })
    })
}

pub fn dof(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        Some(match joints.other_shape {
            0 => Outcome::pass("joints keep their number and order"),
            other => {
                Outcome::fail(format!("{other} messages of `{}` have other joints than its first one with {}", topic.topic, joints.dof))
            }
        })
    })
}

pub fn stuck(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let whole = topic.timing.as_ref().map_or(0.0, |timing| seconds(timing.span_ns()));
        let stuck = seconds(joints.stuck_ns);
        let text = format!("`{}` reports the same positions for {stuck:.2} s at most", topic.topic);
        let never_moved = joints.dof > 0 && joints.unmoved == joints.dof && joints.steps > 0;
        Some(if never_moved || (whole > 0.0 && stuck > whole * case.limit("fail_share")) {
            Outcome::fail(text)
        } else if stuck > case.limit("warn_s") {
            Outcome::warn(0.5, text)
        } else {
            Outcome::pass(text)
        })
        .map(|outcome| outcome.with("stuck_s", stuck))
    })
}

pub fn jump(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let jump = joints.jump_urad as f64 / 1e6;
        let text = format!("`{}` moves {jump:.3} rad between two messages at most", topic.topic);
        (joints.steps > 0).then(|| Outcome::at_most(jump, case.limit("warn_rad"), case.limit("fail_rad"), text).with("jump_rad", jump))
    })
}

pub fn joint_units(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let typical = joints.typical_urad? as f64 / 1e6;
        let text = format!("a joint of `{}` is mostly {typical:.2} away from its zero", topic.topic);
        Some(if typical <= case.limit("limit_rad") * case.limit("times") {
            Outcome::pass(text)
        } else {
            Outcome::warn(0.0, format!("{text}: that is no angle in radians"))
        })
        .map(|outcome| outcome.with("typical", typical))
    })
}

pub fn idle(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let share = joints.idle_steps as f64 / joints.steps.max(1) as f64;
        let (start, end) = (seconds(joints.idle_at_start_ns), seconds(joints.idle_at_end_ns));
        let text = format!(
            "`{}` stands still in {:.0} % of its steps, for {start:.1} s at its start and {end:.1} s at its end",
            topic.topic,
            share * 100.0
        );
        let sound = share <= case.limit("pass_share") && start.max(end) <= case.limit("pass_s");
        (joints.steps > 0).then(|| if sound { Outcome::pass(text) } else { Outcome::warn(0.0, text) }.with("share", share))
    })
}

pub fn identical_vectors(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        let run = joints.stuck_messages as f64;
        let text = format!("`{}` says the same {run} times in a row at most", topic.topic);
        let most = (topic.count as f64 * case.limit("fail_share")).max(case.limit("warn"));
        Some(if run < case.limit("warn") {
            Outcome::pass(text)
        } else if run >= most {
            Outcome::warn(0.0, text)
        } else {
            Outcome::warn(0.5, text)
        })
    })
}

pub fn unchanged_joint(case: &Case) -> Outcome {
    each_arm(case, |topic, joints| {
        (joints.steps > 0).then(|| match joints.unmoved {
            0 => Outcome::pass("every joint moved"),
            unmoved => {
                Outcome::warn(1.0 - unmoved as f64 / joints.dof.max(1) as f64, format!("{unmoved} joints of `{}` never moved", topic.topic))
            }
        })
    })
}

pub fn imu_range(case: &Case) -> Outcome {
    let each = case.facts.topics.items.iter().filter_map(|topic| {
        let imu = topic.imu.as_ref()?;
        let odd = imu.out_of_range + imu.not_finite;
        Some(match odd {
            0 if topic.unread > 0 => Outcome::warn(
                1.0 - topic.unread as f64 / topic.count.max(1) as f64,
                format!("{} of {} messages of `{}` cannot be read", topic.unread, topic.count, topic.topic),
            ),
            0 => Outcome::pass("accelerations are those of a robot on the ground"),
            odd => Outcome::warn(
                1.0 - odd as f64 / topic.count.max(1) as f64,
                format!("{odd} accelerations of `{}` are outside 3 to 30 m/s²", topic.topic),
            ),
        })
    });
    Outcome::worst(each, "no inertial sensor was read")
}

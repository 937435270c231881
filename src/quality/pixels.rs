//! What the images that were decoded show. These warn and rank: thresholds of pixels depend on the camera and the light.

use super::case::{Case, Outcome};
use crate::domain::measurement::{Pixels, Samples, TopicFacts};

fn each_camera<'a>(case: &Case<'a>, of: impl Fn(&'a TopicFacts, &'a Samples) -> Option<Outcome>) -> Outcome {
    let each = case.facts.topics.items.iter().filter_map(|topic| of(topic, topic.images.as_ref()?.samples.as_ref()?));
    Outcome::worst(each, "no images were decoded")
}

pub fn decodable(case: &Case) -> Outcome {
    each_camera(case, |topic, samples| {
        (samples.sampled > 0).then(|| match samples.undecodable {
            0 => Outcome::pass("every image that was tried can be decoded"),
            bad => {
                let at = samples.first_undecodable_at_ns.map_or(String::new(), |at| format!(", the first at {at}"));
                let text = format!("{bad} of {} images of `{}` that were tried cannot be decoded{at}", samples.sampled, topic.topic);
                Outcome::fail(text).with("undecodable", bad)
            }
        })
    })
}

/// Which share of the samples is such.
fn share(pixels: &Pixels, is: impl Fn(usize) -> bool) -> Option<f64> {
    let count = pixels.luma.len();
    (count > 0).then(|| (0..count).filter(|n| is(*n)).count() as f64 / count as f64)
}

/// Of a list that another version wrote shorter, what is missing is as nothing.
fn at<T: Copy + Default>(list: &[T], n: usize) -> T {
    list.get(n).copied().unwrap_or_default()
}

pub fn black_flat(case: &Case) -> Outcome {
    let (dark, bright, flat) = (case.limit("dark_luma"), case.limit("bright_luma"), case.limit("flat_spread"));
    each_camera(case, |topic, Samples { pixels, .. }| {
        let is_nothing = |n| {
            let (luma, spread) = (f64::from(at(&pixels.luma, n)), f64::from(at(&pixels.spread, n)));
            luma < dark || luma > bright || spread < flat
        };
        let share = share(pixels, is_nothing)?;
        let text = match share {
            0.0 => "no image is black, white or flat".to_owned(),
            share => format!("{:.0} % of the images of `{}` that were decoded are black, white or flat", share * 100.0, topic.topic),
        };
        Some(Outcome::at_most(share, case.limit("pass_share"), case.limit("fail_share"), text).with("share", share))
    })
}

pub fn blur(case: &Case) -> Outcome {
    each_camera(case, |topic, Samples { pixels, .. }| {
        let share = share(pixels, |n| (at(&pixels.blur, n) as f64) < case.limit("sharp_min"))?;
        Some(seldom(case, share, &topic.topic, "without a sharp edge"))
    })
}

pub fn extreme_luma(case: &Case) -> Outcome {
    each_camera(case, |topic, Samples { pixels, .. }| {
        let share = share(pixels, |n| at(&pixels.extreme_permille, n) as f64 > case.limit("pixels_permille"))?;
        Some(seldom(case, share, &topic.topic, "largely as dark or as bright as can be"))
    })
}

fn seldom(case: &Case, share: f64, topic: &str, what: &str) -> Outcome {
    let text = format!("{:.0} % of the images of `{topic}` that were decoded are {what}", share * 100.0);
    if share <= case.limit("pass_share") { Outcome::pass(text) } else { Outcome::warn(1.0 - share, text) }.with("share", share)
}

pub fn frozen_pixels(case: &Case) -> Outcome {
    each_camera(case, |topic, Samples { pixels, .. }| {
        let (mut longest, mut run) = (0u32, 0);
        for difference in &pixels.difference_milli {
            let same = difference.is_some_and(|milli| milli as f64 <= case.limit("difference_milli"));
            run = if same { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        let text = format!("{longest} images of `{}` in a row, of those that were decoded, hardly differ from the one before", topic.topic);
        let outcome = if f64::from(longest) <= case.limit("pass") { Outcome::pass(text) } else { Outcome::warn(0.0, text) };
        (pixels.luma.len() > 1).then(|| outcome.with("longest", longest))
    })
}

use super::*;

pub(super) fn created() -> Created {
    Created {
        episode_id: "e".into(),
        task_id: TaskId(1),
        public_task_id: PublicTaskId::parse("t").unwrap(),
        batch_id: BatchId(1),
        order_id: OrderId(1),
        station_id: StationId(1),
        sop_id: SopId(1),
        scene_id: SceneId(1),
        scene_name: String::new(),
        subscene_id: SubsceneId(1),
        subscene_name: String::new(),
        factory_id: FactoryId(1),
        organization_id: OrganizationId(1),
        mcap_path: "b/t.mcap".into(),
        sidecar_path: None,
        sidecar: None,
        checksum: String::new(),
        file_size_bytes: 0,
        etag: None,
        duration_sec: None,
        message_count: 0,
        metadata: None,
        damage: None,
    }
}

#[test]
fn a_label_is_put_on_once() {
    let label = || EpisodeCommand::Label { label: RECALLED_BATCH.to_owned() };
    let mut episode = Episode::default();
    episode.evolve(&EpisodeEvent::EpisodeCreated(created()));
    let events = episode.decide(label()).unwrap();
    assert_eq!(events.len(), 1);
    events.iter().for_each(|event| episode.evolve(event));
    assert_eq!(episode.decide(label()), Ok(vec![]));
    assert_eq!(Episode::Absent.decide(label()), Err(EpisodeRefusal::NoSuchEpisode));
}

/// People change their own labels; those of rules stay where they are, repeated or not, and nobody else puts them on.
#[test]
fn labels_of_rules_stay_whatever_people_say() {
    let mut episode = Episode::default();
    let mut done = |command: EpisodeCommand| {
        let events = episode.decide(command)?;
        events.iter().for_each(|event| episode.evolve(event));
        Ok::<_, EpisodeRefusal>(match &episode {
            Episode::Known(known) => known.labels.clone(),
            Episode::Absent => vec![],
        })
    };
    let say = |labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        EpisodeCommand::Annotate(Annotation { labels: Some(labels), note: None })
    };
    done(EpisodeCommand::Create(created())).unwrap();
    assert_eq!(done(say(&[RECALLED_BATCH])), Err(EpisodeRefusal::LabelOfRule { label: RECALLED_BATCH.into() }));
    done(EpisodeCommand::Label { label: RECALLED_BATCH.to_owned() }).unwrap();
    assert_eq!(done(say(&["mine", "mine"])).unwrap(), [RECALLED_BATCH, "mine"]);
    assert_eq!(done(say(&["other", RECALLED_BATCH])).unwrap(), ["other", RECALLED_BATCH]);
    assert_eq!(done(say(&[])).unwrap(), [RECALLED_BATCH]);
    assert_eq!(done(say(&[LATE_UPLOAD])), Err(EpisodeRefusal::LabelOfRule { label: LATE_UPLOAD.into() }));
}

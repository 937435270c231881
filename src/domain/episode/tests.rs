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

-- What ranking, drift and the inspection queue read, however many episodes there are.

-- Episodes of a procedure that were recorded at one station: few of the procedure's, and few of the station's.
create index episodes_by_sop_and_station on episodes (sop_id, station_id, created_at, id);

-- What waits for an inspector, by why: each level decides about some causes, and what failed is shown where it is asked for.
create index episodes_to_inspect_by_cause on episodes (inspection_cause, qa_status, created_at, id) where inspection_cause is not null;
create index episodes_to_inspect_by_cause_and_certainty
    on episodes (inspection_cause, qa_status, coalesce(inspection_distance, 1000), created_at, id) where inspection_cause is not null;

-- Which facts of an episode are the newest, without reading them: totals of the gap ledger compare versions.
create index episode_facts_by_version on episode_facts (id, version);

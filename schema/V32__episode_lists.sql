-- What lists of episodes by many filters are read from, and bulk runs over them.

create index episodes_by_sop on episodes (sop_id, created_at, id);
-- Most episodes have none.
create index episodes_by_label on episodes using gin (labels) where labels <> '{}';

-- Parts of ids and flags. Without the extension every episode is looked at: slower, and otherwise the same.
do $$
begin
    create index episodes_by_parts_of_texts on episodes
        using gin (comparable(episode_id || e'\n' || task_public_id || e'\n' || coalesce(quality_flag, '')) gin_trgm_ops);
exception when others then
    raise notice 'pg_trgm is not available (%): parts of texts are searched without an index', sqlerrm;
end
$$;

-- Whether a run of this name was made of an episode already.
create index qa_runs_by_name on qa_runs (episode_id, run);

//! Rows of read models in bulk, straight into the tables: how a factory looks after years.

use tokio_postgres::Client;

/// Postgres counts the rows, and knows which pages are visible to all.
pub async fn count_rows(client: &Client) {
    let sql = "vacuum analyze organizations, scenes, sops, robots, data_collectors, stations, orders, batches, tasks, episodes";
    client.batch_execute(sql).await.expect("they are counted");
}

/// As many tasks, and orders, batches and episodes a tenth of that. The sequences of ids go on behind them. Nobody has counted them.
pub async fn fill(client: &Client, tasks: i64) {
    let sql = format!(
        "insert into organizations select n, 1, now(), now(), 1, 'Organization ' || n, 'o' || n from generate_series(1, 10) n;
         insert into scenes select n, 1, now(), now(), 1, 'Scene ' || n from generate_series(1, 50) n;
         insert into sops select n, 1, now(), now(), 'sop-' || n, '1', null, '{{}}' from generate_series(1, 20) n;
         insert into robot_types select 1, 1, now(), now(), 'Arm', 'A', null, null, '[]', '[]', '{{}}';
         insert into robots select n, 1, now(), now(), 1, 1, 'AB-' || n, null, 'active', '{{}}' from generate_series(1, 200) n;
         insert into data_collectors select n, 1, now(), now(), 1 + n % 10, 'Collector ' || n, 'op-' || n, null, null, 'active', '{{}}'
             from generate_series(1, 200) n;
         insert into stations select n, 1, now(), now(), 'Station ' || n, n, 'Arm', 'AB-' || n, n, 'Collector ' || n, 'op-' || n, 1, 1 + n % 10,
             'active', '{{}}', true, null from generate_series(1, 200) n;
         insert into orders select n, 1, now(), now(), 1 + n % 10, 1 + n % 50, 'Order ' || n, 100, 'normal', null, null,
             case when n % 20 = 0 then 'in_progress' else 'completed' end, 10, 9, 1, 0 from generate_series(1, {orders}) n;
         insert into batches select n, 1, now(), now(), 'batch_' || n, 1 + n % {orders}, 1 + n % 200, 1 + n % 10, null, null,
             case when n % 20 = 0 then 'active' else 'completed' end, 10, 9, 1, 0, 9, now(), now() from generate_series(1, {batches}) n;
         insert into tasks select n, 1, now() - (({tasks} - n) || ' seconds')::interval, now(), 'task_' || n, 1 + n % {batches}, 1 + n % {orders},
             1 + n % 200, 1 + n % 20, 1 + n % 50, 'Scene ' || (1 + n % 50), 1 + n % 500, 'Subscene', '', 1, 1 + n % 10,
             case when n % 1000 = 0 then 'ready' when n % 100 = 0 then 'failed' when n % 50 = 0 then 'pending' else 'completed' end,
             null, null, null, null, null, null from generate_series(1, {tasks}) n;
         insert into episodes select n, 1, now() - (({episodes} - n) || ' seconds')::interval, now(), 'e' || n, n, 'task_' || n, 1 + n % {batches},
             1 + n % {orders}, 1 + n % 200, 1 + n % 20, 1 + n % 50, 'Scene', 1 + n % 500, 'Subscene', 1, 1, 'edge/' || n || '.mcap', null, 'c', 1, null,
             1.0, 1, null, case when n % 100 = 0 then 'failed' when n % 500 = 1 then 'pending_qa' when n % 50 = 2 then 'needs_inspection' else 'approved' end, null,
             case when n % 5000 = 0 then 'blurred lens' when n % 100 = 0 then 'too short' end, n % 2 = 0, n % 3 = 0, false, null,
             case when n % 200 = 0 then '{{recalled_batch}}' else '{{}}' end::text[] from generate_series(1, {episodes}) n;
         select setval(name || '_ids', {tasks}) from unnest(array['organization', 'scene', 'sop', 'robot_type', 'robot', 'data_collector',
             'station', 'order', 'batch', 'task', 'episode']) name",
        orders = tasks / 10,
        batches = tasks / 10,
        episodes = tasks / 10
    );
    for statement in sql.split(";\n") {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
    }
}

//! Statistics of rows that were counted by hand, and not from the log.

use chrono::NaiveDate;
use deadpool_postgres::Pool;
use keystone_edge::pg::get;
use keystone_edge::projections::statistics;

/// Packs so many days at once.
const DAYS: usize = 2_000;

/// Packs all days, after what was changed in counted rows by hand.
pub async fn pack_all(pool: &Pool) {
    let client = get(pool).await.expect("a connection");
    client.batch_execute("truncate packed_episodes, packed_tasks").await.expect("empty tables");
    for (table, at, name) in [("counted_episodes", "happened_at", "episodes, packed"), ("counted_tasks", "assigned_at", "tasks, packed")] {
        let days = format!("select distinct station_id, ({at} at time zone 'UTC')::date from {table} order by 2, 1");
        let days = client.query(&days, &[]).await.expect("days");
        let (stations, days): (Vec<i64>, Vec<NaiveDate>) =
            days.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, NaiveDate>(1))).unzip();
        let (_, pack) = statistics::statements().into_iter().find(|(known, _)| *known == name).expect("a statement");
        for (stations, days) in stations.chunks(DAYS).zip(days.chunks(DAYS)) {
            client.execute(&pack, &[&stations, &days]).await.expect("packed days");
        }
    }
}

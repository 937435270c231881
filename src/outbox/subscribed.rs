//! Rows for subscriptions that people store: made behind the log, and taken away when one ends.

/// What holds where enough rows wait for the subscription of the cursor `c`: no more are made. The limit is the second parameter.
pub const ENOUGH_WAITS: &str = "(select count(*) from (select from outbox o where o.subscriber = 'webhooks'
        and o.destination = 'webhook:' || c.subscription_id limit $2::bigint) w) >= $2::bigint";

/// What is under way and asked for again, by seq of the event and destination, is free for another claim at once: what comes of the
/// present one, which may go to an address that was left since, settles nothing any more. Before [`QUEUE`]: a row that is settled
/// between the two is made anew there.
pub const AGAIN: &str = "update outbox o
    set epoch = o.epoch + 1, leased_until = null, leased_by = null, attempt = 0, due_at = clock_timestamp()
    from unnest($1::bigint[], $2::text[]) a (seq, destination)
    where o.subscriber = 'webhooks' and o.event_seq = a.seq and o.destination = a.destination and o.leased_until > clock_timestamp()";

/// Makes rows, in order: seq of the event, its stream, destination, depth. What waits is not queued twice, and what died is left to
/// its letter.
pub const QUEUE: &str = "insert into outbox (subscriber, event_seq, stream_key, destination, causation_depth)
    select 'webhooks', q.seq, q.stream_key, q.destination, q.depth
    from unnest($1::bigint[], $2::text[], $3::text[], $4::integer[]) with ordinality q (seq, stream_key, destination, depth, n)
    where not exists (select from dead_letters d where d.event_seq = q.seq and d.subscriber is not distinct from 'webhooks'
                        and d.destination is not distinct from q.destination and d.resolved_at is null)
    order by q.n on conflict do nothing";

/// The letter of an event, by its place in the log, and a destination, where its delivery died and nothing was done about it.
pub const UNRESOLVED: &str = "select d.dead_letter_id from log l join dead_letters d on d.event_seq = l.seq
    where l.position = $1 and d.subscriber is not distinct from 'webhooks' and d.destination is not distinct from $2 and d.resolved_at is null";

/// Takes away the rows of a destination that nobody works on, and answers their events.
pub const DROP: &str = "delete from outbox o where o.subscriber = 'webhooks' and o.destination = $1
    and (o.leased_until is null or o.leased_until < clock_timestamp()) returning o.event_seq";

/// What waits for a destination is due now, as if it had never failed; how it failed stays with it.
pub const DUE_NOW: &str =
    "update outbox o set due_at = clock_timestamp(), attempt = 0 where o.subscriber = 'webhooks' and o.destination = $1
    and (o.due_at > clock_timestamp() or o.attempt > 0) and (o.leased_until is null or o.leased_until < clock_timestamp())";

/// Every statement, for the test that prepares them.
pub fn statements() -> Vec<(&'static str, String)> {
    [
        ("rows of subscriptions, asked for again", AGAIN),
        ("rows of subscriptions, made", QUEUE),
        ("unresolved letter of an event", UNRESOLVED),
        ("rows of a subscription, dropped", DROP),
        ("rows of a subscription, due", DUE_NOW),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

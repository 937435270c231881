// A queue of the npm registry under the load of benches/outbox.rs:
//   node peer.js graphile-worker|pg-boss <database url> <jobs of the backlog> <seconds per figure>
// Prints one line of JSON: { burn_down, closed, half, p50_ms, p99_ms }, rates per second.
import pg from "pg";

const [kind, url, backlogText, secondsText] = process.argv.slice(2);
const [backlog, seconds] = [Number(backlogText), Number(secondsText)];
const CLIENTS = 8;
const pool = new pg.Pool({ connectionString: url, max: CLIENTS });

let handled = 0;
const committed = new Map();
const early = new Map();
const waits = [];

// A job may be handled before its commit has answered.
function took(payload) {
  handled += 1;
  const at = performance.now();
  const since = committed.get(payload.id);
  if (since === undefined) early.set(payload.id, at);
  else waits.push(at - since);
  committed.delete(payload.id);
}

const queues = {
  // https://worker.graphile.org/docs/performance: local queue, and completions in batches.
  "graphile-worker": async () => {
    const { run, makeWorkerUtils } = await import("graphile-worker");
    const utils = await makeWorkerUtils({ connectionString: url });
    await utils.migrate();
    await utils.release();
    return {
      fill: (count) =>
        pool.query("select count(*) from (select graphile_worker.add_job('take', json_build_object('id', -g)) from generate_series(1, $1::int) g) j", [count]),
      add: "select graphile_worker.add_job('take', json_build_object('id', $1::int))",
      start: async () => {
        const { Logger } = await import("graphile-worker");
        const runner = await run({
          connectionString: url,
          noHandleSignals: true,
          taskList: { take: async (payload) => took(payload) },
          preset: { worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
          logger: new Logger(() => () => {}),
        });
        return () => runner.stop();
      },
    };
  },
  // Batches to one handler, polled for as often as it allows.
  "pg-boss": async () => {
    const { default: PgBoss } = await import("pg-boss");
    const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
    await boss.start();
    await boss.createQueue("take");
    return {
      fill: async (count) => {
        for (let done = 0; done < count; done += 5000) {
          await boss.insert(Array.from({ length: Math.min(5000, count - done) }, (_, n) => ({ name: "take", data: { id: -(done + n + 1) } })));
        }
      },
      // What its own insert does for one job.
      add: async (client, id) => {
        await boss.send("take", { id }, { db: { executeSql: (sql, values) => client.query(sql, values) } });
      },
      start: async () => {
        for (let worker = 0; worker < 2; worker += 1) {
          await boss.work("take", { batchSize: 1000, pollingIntervalSeconds: 0.5 }, async (jobs) => jobs.forEach((job) => took(job.data)));
        }
        return () => boss.stop({ graceful: true, wait: true });
      },
    };
  },
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(count) {
  const end = performance.now() + 120_000;
  while (handled < count) {
    if (performance.now() > end) throw new Error(`${handled} of ${count} were handled within two minutes`);
    await sleep(1);
  }
}

let next = 0;
async function enqueue(queue) {
  const id = (next += 1);
  const client = await pool.connect();
  try {
    await client.query("begin");
    await client.query("insert into bench_events (payload) values ($1)", [JSON.stringify({ id, note: "a payload of an ordinary size, some dozens of bytes" })]);
    if (typeof queue.add === "string") await client.query(queue.add, [id]);
    else await queue.add(client, id);
    await client.query("commit");
  } finally {
    client.release();
  }
  const now = performance.now();
  const at = early.get(id);
  early.delete(id);
  if (at === undefined) committed.set(id, now);
  else waits.push(0);
}

const queue = await queues[kind]();
await pool.query("create table if not exists bench_events (id bigint generated always as identity primary key, payload jsonb not null)");
await queue.fill(backlog);
await pool.query("analyze");

let started = performance.now();
let stop = await queue.start();
await until(backlog);
const burnDown = backlog / ((performance.now() - started) / 1000);

// Closed loop: each client begins the next when its commit has answered.
started = performance.now();
const end = started + seconds * 1000;
await Promise.all(
  Array.from({ length: CLIENTS }, async () => {
    while (performance.now() < end) await enqueue(queue);
  }),
);
await until(backlog + next);
const closed = next / ((performance.now() - started) / 1000);

// Open loop, at half of that: the clock says when, whatever is under way.
waits.length = 0;
const half = closed / 2;
const begun = performance.now();
const under = [];
let sent = 0;
while (performance.now() - begun < seconds * 1000) {
  const due = Math.floor(((performance.now() - begun) / 1000) * half);
  while (sent < due) {
    under.push(enqueue(queue));
    sent += 1;
  }
  await sleep(1);
}
await Promise.all(under);
await until(backlog + next);
waits.sort((a, b) => a - b);
const part = (share) => waits[Math.floor((waits.length - 1) * share)];
await stop();
await pool.end();
console.log(JSON.stringify({ burn_down: burnDown, closed, half, p50_ms: part(0.5), p99_ms: part(0.99) }));
process.exit(0);

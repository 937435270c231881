//! What `keystone --help` and the help of each command say below their options.

pub const ALL: &str = "\
The first minute:
  keystone serve --with-robot     a server, its database and store, and a simulated robot that records
  keystone serve --with-robot --with-cloud   the same, and a simulated cloud that approved episodes are pushed to
  keystone demo                   a whole shift in a temporary folder, every promise checked

Settings: `keystone config --long` lists all of them with their values. A file (--config) changes the defaults, KEYSTONE_* variables
change both, and so do those of a `.env` file in the working directory. An unknown one stops the start.

Ends with 0, or with 1 and one line that says what is wrong. `keystone COMMAND --help` names other codes.";

pub const SERVE: &str = "\
Examples:
  keystone serve                                  everything embedded, in ./keystone-data
  KEYSTONE_BIND_ADDR=:9090 keystone serve         on another port
  KEYSTONE_DATABASE_URL=postgres://keystone@db/keystone KEYSTONE_JWT_SECRET=… keystone serve
                                                  with a Postgres of your own; KEYSTONE_S3_ENDPOINT: with a store of your own

Settings that matter first: KEYSTONE_DATA_DIR, KEYSTONE_BIND_ADDR, KEYSTONE_RECORDER_BIND and KEYSTONE_TRANSFER_BIND (robots elsewhere
than on this machine), KEYSTONE_ADMIN_PASSWORD, KEYSTONE_LOG. The administrator's password is made at the first start and shown in the
greeting.

Stops upon SIGTERM or Ctrl-C; a second one insists. Ends with 0 after an orderly stop, with 1 otherwise.";

pub const DEMO: &str = "\
Takes about a minute, and neither database nor store of the settings. Its folder is removed, unless it is named, kept with --keep, or
something went wrong: then the last line says where it is.

Ends with 0 where every promise was kept, with 1 otherwise.";

pub const SIMULATE: &str = "\
Examples:
  KEYSTONE_SIMULATE_PASSWORD=… keystone simulate --server http://edge:8080 --robots 2 --episodes 6
                                                  from a server that knows no robot to six episodes
  keystone simulate --recorder ws://edge:8091/recorder --transfer ws://edge:8090/transfer --robots 20
                                                  robots that only connect and do what they are told

Reads no settings file; its variables may stand in a `.env` file. Ctrl-C ends it, and prints what each robot made. Ends with 0, or with 1 where the server broke a promise, could
not be found, refused the login, or recordings failed again and again. docs/simulator.md explains what can go wrong on purpose.";

pub const SIMULATE_CLOUD: &str = "\
Examples:
  keystone simulate-cloud                             everything arrives, and is kept in ./keystone-data/cloud until the end
  keystone simulate-cloud --latency 20ms --bandwidth 100Mbit
                                                      a line of 100 Mbit/s over which each answer takes 20 ms
  keystone simulate-cloud --cut-connections 0.1 --lost-answers part=0.1,complete=0.5,tell=0.5 --outage 30s..90s
                                                      a tenth of the requests is cut, answers are lost, and for a minute nobody answers
  keystone simulate-cloud --discard                   a sink for measuring: hashed and counted, and nothing kept; with
                                                      --unchecked not even hashed
  keystone simulate-cloud --device robot-7,site=shanghai --write-config ~/.archebase/config.json
                                                      the data gateway as well, with a device that the server uploads for

While it runs, its control port has the report so far, and takes other faults:
  curl http://127.0.0.1:9109/report
  curl -X PUT http://127.0.0.1:9109/faults -d '{\"slow_downs\":0.5,\"retry_after_ms\":2000}'
  curl -X POST http://127.0.0.1:9109/renew-key
  curl -X POST http://127.0.0.1:9109/expire-credentials

Prints its addresses and keys, and at the end, upon Ctrl-C or SIGTERM, what it received, refused, and did on purpose. Reads no settings
and no KEYSTONE_* variable but KEYSTONE_LOG. docs/simulator.md explains the faults and the report. Ends with 0, or with 1 where it could
not listen, keep or read what it received.";

pub const EVENTS: &str = "\
Examples:
  keystone events                                       the newest 50
  keystone events --task 17
  keystone events --task task_20261121_090143_090_01_9f2cd5a1 --json | jq .type
  keystone events --type 'upload_*' --since 2026-11-21T08:00:00Z --follow
  keystone events --about batch/4 --actor user:admin --limit 1000 --json
  keystone events --position 4711
  keystone events --export csv --since 2026-11-01T00:00:00Z > november.csv
  KEYSTONE_PASSWORD=… keystone events --server http://edge:8080 --follow

Works beside a running server and without one, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names. Makes and
migrates nothing, and needs no other setting. With --server it works from anywhere: --follow waits for a server that restarts and misses
nothing; --task tells what --about finds. Ends with 1 where there is no such task, no database, or no server that lets this account in.
docs/event-log.md says what can be searched for.";

pub const BULK_RUNS: &str = "\
Examples:
  keystone bulk-runs list --active
  keystone bulk-runs watch replay_dead_letters_20261126_080211_5e1f0c
  keystone bulk-runs items replay_dead_letters_20261126_080211_5e1f0c --outcome skipped
  KEYSTONE_PASSWORD=… keystone bulk-runs list --server http://edge:8080

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. The servers of that database do the work.

Ends with 0, or with 1 where there is no such run, nothing was to be cancelled, or a run that was watched did not end as completed.";

pub const DEAD_LETTERS: &str = "\
Examples:
  keystone dead-letters list --subscriber upload_verification --resolution unresolved
  keystone dead-letters show 17
  keystone dead-letters replay 17
  keystone dead-letters replay --subscriber upload_verification --from 2026-11-26T08:00:00Z
                                                  says what is selected, and with which command to replay it
  keystone dead-letters resolve 17 --reason \"the robot is gone\"

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. What is replayed is delivered by the servers of that database. Each act is an event by `command_line`, with --server by the
account that signed in.

Ends with 0, or with 1 where nothing was done: no such letter, or one that is resolved, delivered or under way.";

pub const SUBSCRIPTIONS: &str = "\
Examples:
  keystone subscriptions create --url https://hooks.example/keystone --type episode_created --type 'upload_*'
  keystone subscriptions create --url - --type '*' < url     where the URL is secret
  keystone subscriptions create --polled --type 'upload_*'   for a program that asks
  keystone subscriptions show 1
  keystone subscriptions test 1
  keystone subscriptions deliveries 1 --outcome failed
  keystone subscriptions replay 1 --from-position 100 --to-position 4711

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. What is to be told is posted by the servers of that database. Each act is an event by `command_line`, with --server by the
account that signed in.

Ends with 0, or with 1 where nothing was done: no such subscription, or one that has ended. To delete one that has ended is no error.";

pub const SUITES: &str = "\
Examples:
  keystone suites show default > hall-2.json          the shipped rules, to be edited
  keystone suites draft hall-2.json --name hall-2 --note \"The arms of hall 2 stop more often\"
  keystone suites what-if 3 --station 2               what the draft would say of episodes that there are
  keystone suites activate 3
  keystone suites apply 3 --status needs_inspection    judge history by it: what would be done; --yes does it
  keystone suites list --state active

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. On the database the shipped rules are those of the settings that this program reads. Each act is an event by `command_line`,
with --server by the account that signed in. docs/quality.md has all checks.

Ends with 0, or with 1 where nothing was done: no such suite, rules that cannot be meant, one that is no draft any more.";

pub const REFERENCES: &str = "\
Examples:
  keystone references make --sop 3 --note \"The first good week\"
                                                      of the newest approved episodes: twenty at least, a thousand at most
  keystone references list --sop 3
  keystone references show 1 > good.json              for `keystone qa --reference good.json`

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. Making one is an event by `command_line`, with --server by the account that signed in. docs/quality.md has what is compared.

Ends with 0, or with 1 where nothing was done: no such reference or SOP, or too few approved episodes.";

pub const RANKING: &str = "\
Examples:
  keystone ranking --sop 3                            look at these eight first
  keystone ranking --sop 3 --station 2 --from 2026-11-26T06:00:00Z --limit 20
  keystone ranking --sop 3 --among-themselves --json  compared with each other, also where there is a reference
  keystone drift --station 2                          the last shift: its last quarter against its first

Works beside a running server, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names, or with --server from
anywhere. Compares stored facts of the newest two thousand episodes, reads no recording, and changes nothing.

Ends with 0, or with 1 where it could not be found out.";

pub const CERTIFICATE: &str = "\
Examples:
  KEYSTONE_PASSWORD=… keystone certificate show 17 --server http://edge:8080
  KEYSTONE_PASSWORD=… keystone certificate show 17 --file --server http://edge:8080 > 17.certificate.json
  KEYSTONE_PASSWORD=… keystone certificate keys --server http://edge:8080 > edge.pem
  keystone certificate verify 17.certificate.json --key edge.pem --recording 17.mcap
  keystone certificate rotate                     another key, from the next start on; the one before still verifies

`verify` needs the file and the public keys, and nothing else: no settings, no server, no database. `keys` without --server and `rotate` work on
the data folder (KEYSTONE_DATA_DIR), or on the files that `certificates.key_file` and `certificates.earlier_keys_file` name. docs/certificates.md
has the format, and how it is verified with openssl alone.

Ends with 0; `verify` with 1 where the certificate is not sound, each fault named, and with 2 where that could not be found out; the others
with 1 where nothing was done.";

pub const JUDGES: &str = "\
Works beside a running server and without one, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names. Makes and
migrates nothing, leaves nothing behind, and needs no other setting.

Ends with 0 where all is sound, with 1 where something is broken, with 2 where that could not be found out.";

pub const VERIFY: &str = "\
Works beside a running server and without one, on the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names. Makes and
migrates nothing, leaves nothing behind, and needs no other setting.

Examples:
  keystone verify                                   the whole log
  keystone verify --from 1000 --to 2000             a range of it, within the newest signed head
  keystone verify --checkpoint kept --key keys      against a checkpoint that was kept elsewhere
  keystone verify --export events.ndjson --checkpoint kept --key keys
                                                    without a database: what `keystone events --export stored` wrote
  keystone verify --tiles copy --key keys           a copy of the tree from the object store

Ends with 0 where all is sound, with 1 where something is broken, with 2 where that could not be found out.";

pub const MIGRATE: &str = "\
Only the database in KEYSTONE_DATA_DIR or the one that KEYSTONE_DATABASE_URL names is needed; in a folder without a database one is made.
`serve` does the same at its start. Back up first: there is no way back.";

pub const CONFIG: &str = "\
Examples:
  keystone config                 every setting, its value, and where that comes from
  keystone config s3 --long       those of the store, explained
  keystone config --json

Starts nothing and shows no secret: those are `set` or `not set`. Ends with 1 where `serve` could not use these settings, and says why.";

pub const QA: &str = "\
Examples:
  keystone qa recording.mcap
  keystone qa --topic /joint_states=50 --topic '/camera/*=30' recordings/*.mcap
  keystone qa --quick --json recording.mcap
  keystone qa --reference good.json recording.mcap    compared with what `keystone references show` printed

Reads every byte, once; with --quick only the summary and message indexes. What the sidecar (recording.json) says is compared, where it
lies beside the recording. Reads no settings and no KEYSTONE_* variable, and needs neither server nor database. docs/quality.md explains
every check.

Ends with 0 where all recordings are approved, with 1 where one is failed, and with 2 where none is failed but one needs inspection, or one
could not be read.";

pub const SALVAGE: &str = "\
Examples:
  keystone salvage damaged.mcap --output good.mcap
  keystone salvage damaged.mcap --output good.mcap --force --json
  KEYSTONE_PASSWORD=… keystone salvage --server http://edge:8080 --episode 17 --reason \"The only take\" --output good.mcap

Reads every byte, once. What is written is a sound recording: every message that can be believed, as it was, and a metadata record
`salvage` that names the parent's SHA-256 and what is missing. It is written beside the output under another name, and has the output's
name when it is finished. Of a file it reads no settings and no KEYSTONE_* variable, and needs neither server nor
database. Of an episode that failed because it is damaged, the server does it, this program waits, and fetches the file where --output names a place. docs/quality.md says
what is believed.

Ends with 0 where something was kept, also where much is missing, and with 1 where nothing could be kept, read or written.";

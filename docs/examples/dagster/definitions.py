"""An outside check of Keystone Edge in Dagster: a sensor asks the server what waits, and each run claims a job, judges, reports.

The check itself, and how the server is spoken to, are those of `outside_checker.py`: put a check of your own in the place of its
`look`. Copy both files into one folder, or from this one, with Python 3.11 or newer:

    pip install -r requirements.txt
    export KEYSTONE_SERVER=http://edge:8080 KEYSTONE_PASSWORD=... KEYSTONE_CHECK=repeated
    export DAGSTER_HOME=/var/lib/dagster PYTHONPATH=..       # and dagster.yaml in that folder
    dagster-daemon run -f definitions.py                     # with a page to look at: `dagster dev -f definitions.py`

Who has a job is decided by the server alone, when a run claims: never by the sensor, which only says how many runs are worth
starting. So other checkers may work beside this one, and a run too many ends without having done anything.
"""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from dagster import (
    ConfigurableResource,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    Definitions,
    EnvVar,
    OpExecutionContext,
    Out,
    Output,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    in_process_executor,
    job,
    mem_io_manager,
    op,
    sensor,
)

import outside_checker
from outside_checker import Lost, Refused, Server

Job = dict[str, Any]

JOBS_MAX = 100
PAUSE_S = 5
ASKED_FOR = "keystone/outside_job"
ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


@functools.cache
def signed_in(server: str, account: str, password: str) -> Server:
    """One login for all that a process asks."""
    return Server(server, account, password)


class Keystone(ConfigurableResource):
    """Where the server is, which administrator signs in, and which outside check is made here."""

    server: str
    account: str = "admin"
    password: str
    check: str

    def ask(self, path: str, body: Job | None = None) -> Any:
        return self.connection().ask(path, body)

    def connection(self) -> Server:
        return signed_in(self.server, self.account, self.password)


@op(out=Out(dict, is_required=False, io_manager_key="memory"))
def claim(context: OpExecutionContext, keystone: Keystone) -> Iterator[Output[Job]]:
    """Takes the most urgent job. Where nothing waits any more another checker was faster, and `judge` is skipped."""
    claimed = keystone.ask(f"/qa/outside-checks/{quote(keystone.check)}/claim", {"checker": f"dagster/{context.run_id}"})
    if claimed is None:
        context.log.info("Another checker was faster: nothing waits any more")
        return
    yield Output(claimed, metadata={name: claimed[name] for name in ("id", "attempt", "deadline")} | {"episode": claimed["episode"]["id"]})


@op
def judge(context: OpExecutionContext, keystone: Keystone, claimed: Job) -> None:
    """Reads the recording, tells meanwhile that it is at work, and reports.

    What goes wrong fails the run and is seen in Dagster. The server is told nothing: the lease runs out, and another run claims.
    """
    try:
        report = outside_checker.do(keystone.connection(), claimed)["report"]
    except Lost:
        context.log.warning("Another checker has the job, or nobody waits for it any more")
    except Refused as refused:
        if refused.status != 409:
            raise
        context.log.warning(f"The report came too late: {refused}")
    else:
        context.add_output_metadata({**report.get("numbers", {}), "result": report["result"], "details": report["details"]})


# Both steps in one process, where the token of the claim stays in memory, and the heartbeat ends with what it speaks for.
@job(executor_def=in_process_executor)
def outside_check() -> None:
    """One job of the outside check."""
    judge(claim())


def claimable(keystone: Keystone) -> list[Job]:
    """What a claim would get, the most urgent first: jobs that wait, and those whose checker let its lease run out."""
    listed = {
        state: keystone.ask(f"/qa/outside-jobs?check={quote(keystone.check)}&state={state}&limit={JOBS_MAX}")["items"]
        for state in ("waiting", "claimed")
    }
    # Times are shown in whole seconds.
    over = datetime.now(UTC) - timedelta(seconds=1)
    lost = [each for each in listed["claimed"] if datetime.fromisoformat(each["lease_until"]) < over]
    return sorted(listed["waiting"] + lost, key=lambda each: (each["deadline"], each["id"]))


def run_key(instance: DagsterInstance, waiting: Job) -> str:
    """One run for a job, and another one where it can be claimed still (or again) after a run ended or a claim was lost.

    Dagster starts no second run with the same key.
    """
    ended = instance.get_runs_count(RunsFilter(tags={ASKED_FOR: str(waiting["id"])}, statuses=ENDED))
    return f"{waiting['id']}/{waiting['attempts']}/{ended}"


@sensor(job=outside_check, minimum_interval_seconds=PAUSE_S, default_status=DefaultSensorStatus.RUNNING)
def outside_jobs(context: SensorEvaluationContext, keystone: Keystone) -> list[RunRequest] | SkipReason:
    """Asks for a run for each job that can be claimed."""
    waiting = claimable(keystone)
    if not waiting:
        return SkipReason(f"No job of `{keystone.check}` waits")
    return [RunRequest(run_key(context.instance, each), tags={ASKED_FOR: str(each["id"])}) for each in waiting]


defs = Definitions(
    jobs=[outside_check],
    sensors=[outside_jobs],
    resources={
        "keystone": Keystone(server=EnvVar("KEYSTONE_SERVER"), password=EnvVar("KEYSTONE_PASSWORD"), check=EnvVar("KEYSTONE_CHECK")),
        "memory": mem_io_manager,
    },
)

"""The example for Dagster with a real daemon, against the running program and simulated robots.

Every episode waits for the outside check until a run has reported. One run does not reach the server, the process of one is killed
with its job in hand, and in one the check fails (`dagster_site.py`): Dagster tells of them, and later runs do these jobs.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs/examples"
sys.path.insert(0, str(EXAMPLES))

from outside_checker import Refused, Server  # noqa: E402

PROGRAM = Path(sys.argv[1]).resolve()
EPISODES = int(os.environ.get("DAGSTER_TEST_EPISODES", "6"))
DEADLINE = time.monotonic() + int(os.environ.get("DAGSTER_TEST_SECONDS", "600"))
PASSWORD = "a password for the dagster test"
SIGNED_LINK = "dl_token="
CHECK = "repeated"
# Short, because the job of the run that dies is claimed by another one only afterwards.
LEASE_S = 15
# A busy machine may lose more claims than those that are lost on purpose.
CLAIMS_MAX = 10
STOP_S = 60
# What `dagster_site.py` says.
MISHAP_FAILED, MISHAP_UNREACHED = "the check of the dagster-test fails once", "the dagster-test does not reach the server once"


class Failed(Exception):
    """What did not hold."""


def expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Failed(f"{what}: {found!r} instead of {wanted!r}")


class Started:
    """A program in a process group of its own, with a file for what it says."""

    def __init__(self, name: str, folder: Path, command: list[str | Path], **variables: str | Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        environment = os.environ | {key: str(value) for key, value in variables.items()}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def signal(self, number: signal.Signals) -> None:
        # Nothing may be left of the group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def wait(self) -> int:
        try:
            return self.process.wait(max(1.0, DEADLINE - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failed(f"`{self.name}` does not end") from None

    def stop(self) -> None:
        """In good order, and then whatever is left of its group."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.signal(signal.SIGKILL)
        self.process.wait()

    def last(self, lines: int) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def until(what: str, programs: list[Started], test: Callable[[], Any]) -> Any:
    """What `test` answers, once that is something; none of the programs may end before."""
    while True:
        try:
            if found := test():
                return found
        except OSError:
            pass
        except Refused as refused:
            # A server that starts, or is busy.
            if refused.status < 500:
                raise
        for program in programs:
            if program.process.poll() is not None:
                raise Failed(f"{what}: `{program.name}` ended with {program.process.returncode}")
        if time.monotonic() > DEADLINE:
            raise Failed(f"{what}: not within the time of this test")
        time.sleep(0.5)


def addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="keystone-dagster-"))
    # Postgres does not run as root; where we are root, another user has to reach its files.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def served(folder: Path, stack: contextlib.ExitStack) -> tuple[Started, str]:
    """The program with its own Postgres and store, and its address."""
    http, recorder, transfer, s3 = addresses(4)
    settings = folder / "settings.toml"
    settings.write_text(f"[outside_checks]\nlease_s = {LEASE_S}\nclaims_max = {CLAIMS_MAX}\n")
    binds = {"KEYSTONE_BIND_ADDR": http, "KEYSTONE_RECORDER_BIND": recorder, "KEYSTONE_TRANSFER_BIND": transfer, "KEYSTONE_EMBEDDED_S3_BIND": s3}
    own = {"KEYSTONE_DATA_DIR": folder / "data", "KEYSTONE_ADMIN_PASSWORD": PASSWORD}
    started = Started("serve", folder, [PROGRAM, "--config", settings, "serve"], **binds, **own)
    stack.callback(started.stop)
    return started, f"http://{http}"


def judge_with_the_check(server: Server) -> None:
    """From now on the gates that are shipped hold, and beside them the outside check alone says what a recording is worth."""
    rules = server.ask("/qa/suites/default")
    asked = {"name": CHECK, "part": "topics", "weight": 1, "limits": {"repeated_share_max": 1.0}, "outside": {"deadline_s": 3600}}
    rules |= {"name": "with-dagster", "checks": [check for check in rules["checks"] if check.get("gate")] + [asked]}
    server.ask(f"/qa/suites/{server.ask('/qa/suites', rules)['id']}/activate", {})


def robots(folder: Path, base: str) -> Started:
    command = [PROGRAM, "simulate", "--server", base, "--robots", "2", "--episodes", str(EPISODES), "--seconds", "2", "--data-dir", folder / "robots"]
    return Started("simulate", folder, command, KEYSTONE_SIMULATE_PASSWORD=PASSWORD)


def dagster_variables(folder: Path, base: str) -> dict[str, str | Path]:
    (folder / "mishaps").mkdir()
    (folder / "dagster").mkdir()
    shutil.copy(EXAMPLES / "dagster/dagster.yaml", folder / "dagster")
    return {
        "DAGSTER_HOME": folder / "dagster",
        "DAGSTER_TEST_MISHAPS": folder / "mishaps",
        "KEYSTONE_SERVER": base,
        "KEYSTONE_PASSWORD": PASSWORD,
        "KEYSTONE_CHECK": CHECK,
        "PYTHONPATH": f"{EXAMPLES / 'dagster'}{os.pathsep}{EXAMPLES}",
    }


def dagster(command: str) -> Path:
    return Path(sys.executable).with_name(command)


SITE = ["--python-file", str(ROOT / ".ci/dagster_site.py")]


def settled(server: Server) -> list[dict]:
    """All episodes, once there are as many as were wanted and none waits for its verdict."""
    episodes = server.ask("/episodes?limit=100")["items"]
    open_ones = [each for each in episodes if each["qa_status"] in ("pending_qa", "qa_running")]
    return episodes if len(episodes) >= EPISODES and not open_ones else []


def look_at_jobs(server: Server, episodes: list[dict], mishaps: set[int]) -> dict[str, dict]:
    """Each job was done once, by a run that read the whole recording. Answers them by the run."""
    listed = server.ask(f"/qa/outside-jobs?check={CHECK}&limit=100")["items"]
    expect("episodes with a job", sorted(each["episode_id"] for each in listed), sorted(each["id"] for each in episodes))
    messages = {each["id"]: each["message_count"] for each in episodes}
    done = {}
    for each in (server.ask(f"/qa/outside-jobs/{each['id']}") for each in listed):
        what = f"job {each['id']}"
        expect(f"{what}, its state", each["state"], "done")
        expect(f"{what}, its result", each["report"]["result"], "pass")
        expect(f"{what}, messages that were read", each["report"]["numbers"]["messages"], messages[each["episode_id"]])
        if each["id"] in mishaps and each["attempts"] < 2:
            raise Failed(f"{what} was claimed once, by the run that was lost")
        kind, _, run = each["checker"].partition("/")
        expect(f"{what}, who did it", kind, "dagster")
        expect(f"{what}, a run that did another one", done.get(run), None)
        done[run] = each
    expect("verdicts", {each["qa_status"] for each in episodes}, {"approved"})
    return done


def steps(instance: DagsterInstance, run: str, kind: DagsterEventType) -> list:
    return [record.dagster_event for record in instance.all_logs(run, of_type=kind)]


def look_for_secrets(folder: Path) -> None:
    """Neither the password nor a signed link is in what Dagster keeps or says."""
    files = [folder / "daemon.log", *(path for path in (folder / "dagster").rglob("*") if path.is_file())]
    for secret in (PASSWORD, SIGNED_LINK):
        expect(f"files of Dagster with `{secret}`", [str(path) for path in files if secret.encode() in path.read_bytes()], [])


def all_ended(instance: DagsterInstance) -> bool:
    return all(run.is_finished for run in instance.get_runs())


def look_at_runs(instance: DagsterInstance, done: dict[str, dict]) -> str:
    """Those runs failed that had to, all others succeeded, and those that found nothing to claim judged nothing."""
    runs = instance.get_runs()
    failed = {run.run_id for run in runs if run.status == DagsterRunStatus.FAILURE}
    well = {run.run_id for run in runs if run.status == DagsterRunStatus.SUCCESS}
    expect("runs that neither failed nor succeeded", {run.run_id for run in runs} - failed - well, set())
    told = [steps(instance, run, DagsterEventType.STEP_FAILURE) for run in failed]
    errors = [events[0].event_specific_data.error.to_string() for events in told if events]
    wanted = [MISHAP_FAILED, MISHAP_UNREACHED]
    expect("what steps failed with", sorted(next((mishap for mishap in wanted if mishap in error), error) for error in errors), sorted(wanted))
    # One is killed on purpose; a busy machine may have more that do not begin in time.
    died = len(failed) - len(errors)
    if died < 1:
        raise Failed("Dagster does not tell of the run that was killed")
    expect("jobs that were done by no run that succeeded", set(done) - well, set())
    skipped = {run: [event.step_key for event in steps(instance, run, DagsterEventType.STEP_SKIPPED)] for run in well}
    nothing = [run for run, keys in skipped.items() if keys == ["judge"]]
    expect("runs that did a job without judging", set(nothing) & set(done), set())
    if not nothing:
        raise Failed("the run that had nothing to claim did not skip `judge`")
    late = len(well) - len(done) - len(nothing)
    return f"{len(runs)} runs: {len(done)} did a job, {died} died, {len(errors)} failed, {len(nothing)} found nothing to claim, {late} lost their claim"


def test(folder: Path, stack: contextlib.ExitStack, programs: list[Started]) -> str:
    begun = time.monotonic()
    serve, base = served(folder, stack)
    programs.append(serve)
    server = Server(base, "admin", PASSWORD)
    until("the server is ready", programs, lambda: server.ask("/ready"))
    judge_with_the_check(server)
    variables = dagster_variables(folder, base)
    daemon = Started("daemon", folder, [dagster("dagster-daemon"), "run", *SITE], **variables)
    stack.callback(daemon.stop)
    programs.append(daemon)
    simulate = robots(folder, base)
    stack.callback(simulate.stop)
    programs.append(simulate)
    expect("the end of `simulate`", simulate.wait(), 0)
    episodes = until("every episode has its verdict", [serve, daemon], lambda: settled(server))
    mishaps = {int((folder / "mishaps" / mishap).read_text()) for mishap in ("died", "failed")}
    done = look_at_jobs(server, episodes, mishaps)

    instance = DagsterInstance.from_config(str(variables["DAGSTER_HOME"]))
    stack.callback(instance.dispose)
    until("every run has ended", [serve, daemon], lambda: all_ended(instance))
    # As where another checker was faster.
    late = Started("late", folder, [dagster("dagster"), "job", "execute", *SITE, "--job", "outside_check"], **variables)
    stack.callback(late.stop)
    programs.append(late)
    expect("the end of a run that has nothing to claim", late.wait(), 0)
    told = look_at_runs(instance, done)
    daemon.stop()
    look_for_secrets(folder)
    return f"{len(episodes)} episodes waited and were approved in {time.monotonic() - begun:.0f} s; {told}"


def main() -> None:
    programs: list[Started] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        try:
            print(f"dagster-test: {test(folder, stack, programs)}")
        except Exception as error:
            for program in programs:
                print(f"== {program.name}\n{program.last(40)}", file=sys.stderr)
            if not isinstance(error, Failed):
                raise
            sys.exit(f"dagster-test: {error}")


if __name__ == "__main__":
    main()

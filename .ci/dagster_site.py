"""The definitions of docs/examples/dagster, with three mishaps: a server that is not reached, a run that dies, a check that fails."""

import os
import signal
import threading
from pathlib import Path
from typing import Any, BinaryIO

import outside_checker
from definitions import defs  # noqa: F401 -- what Dagster loads

MISHAPS = Path(os.environ["DAGSTER_TEST_MISHAPS"])
look_well, ask_well = outside_checker.look, outside_checker.Server.ask


def first(mishap: str, job: int | str = "") -> bool:
    """Whether this goes wrong now: once, in the process that comes first."""
    try:
        with open(MISHAPS / mishap, "x") as file:
            file.write(str(job))
    except FileExistsError:
        return False
    return True


def look(stream: BinaryIO, job: dict[str, Any], lost: threading.Event) -> dict[str, Any]:
    """Kills the process, then fails, then is the look of the example."""
    if first("died", job["id"]):
        os.kill(os.getpid(), signal.SIGKILL)
    if first("failed", job["id"]):
        raise RuntimeError("the check of the dagster-test fails once")
    return look_well(stream, job, lost)


def ask(self: outside_checker.Server, path: str, body: dict[str, Any] | None = None) -> Any:
    """Does not reach the server with the first claim."""
    if path.endswith("/claim") and first("unreached"):
        raise OSError("the dagster-test does not reach the server once")
    return ask_well(self, path, body)


outside_checker.look, outside_checker.Server.ask = look, ask

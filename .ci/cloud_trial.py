"""What all checks of the simulated cloud need: where it is, what it says of itself, and what is counted as one answer."""

import hashlib
import json
import pathlib
import sys
import time
import urllib.request

SECONDS = 30
SCRIPT = pathlib.Path(sys.argv[0]).stem
_tried = 0


def _greeting():
    said, deadline = pathlib.Path(sys.argv[1]), time.monotonic() + SECONDS
    while "\n" not in (text := said.read_text()):
        if time.monotonic() > deadline:
            failed(f"the cloud says nothing within {SECONDS} s")
        time.sleep(0.1)
    return json.loads(text.split("\n")[0])


def failed(what):
    sys.exit(f"cloud-test: {SCRIPT}: {what}")


def check(what, holds):
    global _tried
    _tried += 1
    if not holds:
        failed(what)


def tried():
    return _tried


cloud = _greeting()


def control(path, body=None, method="GET"):
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(cloud["control"] + path, content, method=method), timeout=SECONDS) as answer:
        return json.loads(answer.read() or b"null")


def content(size, seed):
    return hashlib.shake_128(bytes([seed])).digest(size)

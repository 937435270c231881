#!/usr/bin/env python3
"""A complete checker for Keystone Edge: claims jobs of an outside check, reads each recording, says what it found.

It looks for messages that repeat the one before them byte for byte: a sensor that hangs, and a driver that does not notice.
Put a check of your own in the place of `look`. It needs the package `mcap` (`pip install mcap`), and nothing else:

    KEYSTONE_PASSWORD=... ./outside_checker.py --server http://edge:8080 --check repeated

The server is asked, and never asks: this program needs no address, and any number of it may run, anywhere. When it is
killed, its job goes to another one after the lease.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from mcap.reader import make_reader

PIECE = 1 << 20
FINDINGS_MAX = 50


class Refused(Exception):
    """The server said no: with which status, and why."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body.get('error') or body.get('detail') or body}")
        self.status = status


class Server:
    """Signs in, and asks."""

    def __init__(self, base, account, password):
        self.base, self.account, self.password, self.token = base.rstrip("/"), account, password, None

    def open(self, method, path, body=None, token=None):
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                said = json.loads(text)
            except ValueError:
                said = {"error": text[:200]}
            raise Refused(error.code, said) from None

    def sign_in(self):
        login = {"account": self.account, "password": self.password}
        with self.open("POST", "/api/v1/auth/login", login) as answer:
            self.token = json.load(answer)["access_token"]

    def ask(self, path, body=None):
        """The answer as a value, by GET where there is no body; None where there is nothing (204)."""
        method = "GET" if body is None else "POST"
        for _ in range(2):
            if self.token is None:
                self.sign_in()
            try:
                with self.open(method, "/api/v1" + path, body, self.token) as answer:
                    return json.load(answer) if answer.status != 204 else None
            except Refused as refused:
                # A login ends after a while: sign in once more.
                if refused.status != 401:
                    raise
                self.token = None
        raise Refused(401, {"error": "the login does not hold"})

    def fetch(self, link, sha256, into):
        """Writes the object behind a signed link, and compares its hash: what is judged is what was verified."""
        hashed = hashlib.sha256()
        with self.open("GET", link) as answer:
            while piece := answer.read(PIECE):
                hashed.update(piece)
                into.write(piece)
        if hashed.hexdigest() != sha256:
            raise ValueError(f"the recording has another hash than the server told: {hashed.hexdigest()}")
        into.seek(0)


class Heartbeat:
    """Says every third of the lease that the job is worked on, and notices when it is ours no more."""

    def __init__(self, server, job):
        self.server, self.job = server, job
        self.over, self.lost = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def beat(self):
        while not self.over.wait(self.job["lease_s"] / 3):
            try:
                self.server.ask(f"/qa/outside-jobs/{self.job['id']}/heartbeat", {"token": self.job["token"]})
            except Refused as refused:
                if refused.status in (404, 409):
                    self.lost.set()
                    return
                print(f"heartbeat: {refused}", file=sys.stderr)
            except OSError as error:
                # The next one may arrive, and if not, the lease ends.
                print(f"heartbeat: {error}", file=sys.stderr)


class Lost(Exception):
    """Another checker has the job, or nobody waits for it."""


def look(stream, job, lost):
    """The check itself: what share of the messages of each topic repeats the one before, and the longest stretch of them."""
    most = job["limits"].get("repeated_share_max", 0.5)
    topics, first = {}, None
    for _, channel, message in make_reader(stream).iter_messages(log_time_order=False):
        if lost.is_set():
            raise Lost
        first = message.log_time if first is None else min(first, message.log_time)
        topic = topics.setdefault(channel.topic, {"count": 0, "repeated": 0, "before": None, "run": 0, "run_at": 0, "longest": (0, 0)})
        topic["count"] += 1
        digest = hashlib.blake2b(message.data, digest_size=16).digest()
        if digest == topic["before"]:
            topic["repeated"] += 1
            topic["run"] += 1
            topic["longest"] = max(topic["longest"], (topic["run"], -topic["run_at"]))
        else:
            topic["before"], topic["run"], topic["run_at"] = digest, 0, message.log_time
    if not topics:
        return {"result": "not_applicable", "details": "there are no messages"}
    shares = {name: topic["repeated"] / topic["count"] for name, topic in topics.items()}
    findings = []
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        if share > most:
            run, at = topics[name]["longest"]
            message = f"{share:.0%} of its messages repeat the one before, at most {run} in a row"
            findings.append({"severity": "error", "topic": name[:255], "message": message, "at_s": max(0.0, (-at - first) / 1e9)})
    worst = max(shares, key=shares.get)
    return {
        "result": "fail" if findings else "pass",
        "details": f"`{worst[:200]}` repeats itself most: {shares[worst]:.0%} of its messages",
        "numbers": {"topics": len(topics), "messages": sum(topic["count"] for topic in topics.values()), "repeated_share": shares[worst]},
        "findings": findings[:FINDINGS_MAX],
    }


def do(server, job):
    with tempfile.TemporaryFile() as file, Heartbeat(server, job) as heart:
        server.fetch(job["mcap_url"], job["episode"]["sha256"], file)
        report = look(file, job, heart.lost)
    return server.ask(f"/qa/outside-jobs/{job['id']}/result", {"token": job["token"], **report})


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--server", required=True, help="its address, as http://edge:8080")
    options.add_argument("--check", required=True, help="the name of the check, as the suite has it")
    options.add_argument("--account", default="admin")
    options.add_argument("--checker", default=f"{socket.gethostname()}/{os.getpid()}", help="what this program calls itself")
    options.add_argument("--pause-s", type=float, default=5.0, help="between questions while nothing waits")
    options.add_argument("--jobs", type=int, default=0, help="end after so many jobs; 0: never")
    given = options.parse_args()
    password = os.environ.get("KEYSTONE_PASSWORD")
    if not password:
        options.error("KEYSTONE_PASSWORD has to be set")
    server, done = Server(given.server, given.account, password), 0
    while not given.jobs or done < given.jobs:
        try:
            job = server.ask(f"/qa/outside-checks/{given.check}/claim", {"checker": given.checker[:100]})
            if job is None:
                time.sleep(given.pause_s)
                continue
            answer = do(server, job)
            done += 1
            print(f"job {job['id']}, episode {job['episode']['id']}: {answer['report']['result']}: {answer['report']['details']}", flush=True)
        except Lost:
            print(f"job {job['id']}: it is another one's now, or nobody waits for it", flush=True)
        except Refused as refused:
            # A claim that is void, a login that is refused, a server that is busy: ask again.
            print(f"refused: {refused}", file=sys.stderr, flush=True)
            time.sleep(given.pause_s)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the job goes to another checker after the lease
            print(f"failed: {error!r}", file=sys.stderr, flush=True)
            time.sleep(given.pause_s)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass

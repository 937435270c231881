"""The log, verified with nothing of ours: commitments from an export, the tree by pymerkle, the signature by cryptography."""

import base64
import hashlib
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import InclusionProof, InmemoryTree, InvalidProof

base, password, data, origin = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4]
SECONDS = 180
EVENTS_MIN = 260
tried = 0


def read(path, token=None, body=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(base + path, content, headers), timeout=30) as answer:
        return answer.read()


def until(what, test):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if found := test():
                return found
        except (OSError, LookupError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            sys.exit(f"log-test: {what} after {SECONDS} s")
        time.sleep(0.2)


def must(what, holds):
    global tried
    tried += 1
    if not holds:
        sys.exit(f"log-test: {what}")


def sha256(content):
    return hashlib.sha256(content).digest()


def opened(note, keys):
    """The text of a signed note that one of these keys has signed."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    for line in lines.splitlines():
        dash, name, packed = line.split(" ")
        signature = base64.b64decode(packed)
        for key in keys:
            key_name, key_id, public = key.split("+", 2)
            kind, public = base64.b64decode(public)[:1], base64.b64decode(public)[1:]
            fits = sha256(key_name.encode() + b"\n" + kind + public)[:4]
            if dash == "\u2014" and (key_name, fits.hex()) == (name, key_id) and signature[:4] == fits:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
                return text
    sys.exit("log-test: no known key has signed the checkpoint")


def leaf(event):
    """Position and commitment, from what an export has."""
    commitment = {
        "aggregate_id": event["aggregate_id"],
        "aggregate_type": event["aggregate_type"],
        "commitment": "keystone-event-1",
        "event_type": event["event_type"],
        "event_version": event["event_version"],
        "metadata_sha256": sha256(event["metadata_text"].encode()).hex(),
        "payload_sha256": sha256(event["payload_text"].encode()).hex(),
        "recorded_at_us": event["recorded_at_us"],
        "sequence": event["sequence"],
    }
    text = json.dumps(commitment, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return event["position"].to_bytes(8, "big") + sha256(text.encode())


def consistent(old, new, old_root, new_root, proof):
    """RFC 9162, section 2.1.4.2."""
    if old == new:
        return not proof and old_root == new_root
    path = ([old_root] if old & (old - 1) == 0 else []) + proof
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    of_old = of_new = path[0]
    for beside in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            of_old, of_new = sha256(b"\1" + beside + of_old), sha256(b"\1" + beside + of_new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            of_new = sha256(b"\1" + of_new + beside)
        here, last = here >> 1, last >> 1
    return last == 0 and (of_old, of_new) == (old_root, new_root)


until("the server is not ready", lambda: read("/ready"))
token = json.loads(read("/auth/login", body={"account": "admin", "password": password}))["access_token"]


def get(path):
    return json.loads(read(path, token))


keys = read("/log/keys", token).decode().splitlines()
until("there is no checkpoint of some hundred events", lambda: get("/log/checkpoints?limit=1")["items"][0]["size"] >= EVENTS_MIN)
note = read("/log/checkpoint", token).decode()
text = opened(note, keys)
name, size, root = text.splitlines()
size, root = int(size), base64.b64decode(root)
must("the checkpoint has another name", name == origin)

# The whole tree, from an export of the events.
until("the events are not found yet", lambda: get("/events?limit=1")["readable_to"] >= size)
lines = read(f"/events/export?format=stored&to_position={size}", token).decode().splitlines()
events = [json.loads(line) for line in lines]
must("the export is not whole", [event["position"] for event in events] == list(range(1, size + 1)))
leaves = [leaf(event) for event in events]
tree = InmemoryTree(algorithm="sha256")
for entry in leaves:
    tree.append_entry(entry)
must("pymerkle computes another root", tree.get_root(size) == root)

# One event that is not what it was.
other = InmemoryTree(algorithm="sha256")
for position, event in enumerate(events, 1):
    other.append_entry(leaf(event | {"recorded_at_us": event["recorded_at_us"] + (position == 17)}))
must("an event was changed, and the root is the same", other.get_root(size) != root)

for position in {1, 2, 17, 256, 257, size // 2, size - 1, size}:
    answer = get(f"/log/proofs/inclusion?position={position}&size={size}")
    must(f"the leaf at {position} is another one", base64.b64decode(answer["leaf"]) == leaves[position - 1])
    path = [sha256(b"\0" + leaves[position - 1])] + [base64.b64decode(one) for one in answer["proof"]]
    rule = tree.prove_inclusion(position, size).rule
    proof = InclusionProof("sha256", True, size, position, rule, path)
    proof.verify(path[0], root, index=position, size=size)
    path[-1] = bytes(32)
    try:
        InclusionProof("sha256", True, size, position, rule, path).verify(path[0], root, index=position, size=size)
        must("a proof with another hash verifies", len(path) == 1)
    except InvalidProof:
        must("", True)

for old in {1, 2, 64, 255, 256, 257, size - 1, size}:
    answer = get(f"/log/proofs/consistency?from={old}&to={size}")
    proof = [base64.b64decode(one) for one in answer["proof"]]
    must(f"the root of {old} is another one", base64.b64decode(answer["from_root"]) == tree.get_root(old))
    must(f"{old} is not the beginning", consistent(old, size, tree.get_root(old), root, proof))
    must("another root is consistent", not consistent(old, size, bytes(32), root, proof))

# What lies in the object store.
folder = until("nothing is published", lambda: list(data.glob(f"**/_log/{origin}/checkpoint")))[0].parent
published = (folder / "checkpoint").read_text()
_, stored_size, stored_root = opened(published, keys).splitlines()
stored_size = int(stored_size)
for number in range(stored_size // 256):
    tile = (folder / "tile/0" / f"{number:03}").read_bytes()
    entries = (folder / "tile/entries" / f"{number:03}").read_bytes()
    must("a tile has another length", (len(tile), len(entries)) == (8192, 256 * 42))
    for at in range(256):
        entry = entries[42 * at:42 * at + 42]
        must("an entry does not fit its tile", entry[:2] == b"\0\x28" and sha256(b"\0" + entry[2:]) == tile[32 * at:32 * at + 32])
if stored_size <= size:
    must("the store has another tree", base64.b64decode(stored_root) == tree.get_root(stored_size))

try:
    opened(note.replace(f"\n{size}\n", f"\n{size + 1}\n"), keys)
    sys.exit("log-test: a checkpoint of another size verifies")
except InvalidSignature:
    must("", True)
print(f"log-test: {size} events, {tried} checks")

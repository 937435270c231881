"""What two robots' keys open in the embedded store, tried with boto3 against the running program."""

import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

base, password, data = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
SECONDS = 90
tried = 0


def ask(path, body=None, token=None, method=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(base + path, content, headers, method=method), timeout=10) as answer:
        return json.load(answer)


def until(what, test):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if found := test():
                return found
        except (OSError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            sys.exit(f"store-test: {what} after {SECONDS} s")
        time.sleep(0.2)


def client(endpoint, access_key, secret_key):
    settings = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access_key,
                        aws_secret_access_key=secret_key, config=settings)


def expect(status, what, call):
    global tried
    tried += 1
    try:
        found = call()["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        found = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if found not in (status if isinstance(status, tuple) else (status,)):
        sys.exit(f"store-test: {what}: {found} instead of {status}")


until("the server is not ready", lambda: ask("/ready"))
token = ask("/auth/login", {"account": "admin", "password": password})["access_token"]
episode = until("there is no episode", lambda: ask("/episodes", token=token)["items"])[0]
bucket, _, mcap = episode["mcap_path"].partition("/")
sidecar = mcap.removesuffix(".mcap") + ".json"

# Two robots more, registered as robots register themselves.
factory = ask("/factories", token=token)["items"][0]["name"]
robot_type = ask("/robot_types", token=token)["items"][0]["model"]
robots = [ask("/devices/register", {"factory": factory, "robot_type": robot_type}) for _ in range(2)]
endpoint = robots[0]["store_endpoint"]
one, two = (client(endpoint, robot["store_access_key"], robot["store_secret_key"]) for robot in robots)
server = client(endpoint, "keystone-server", (data / "secrets/s3_server").read_text().strip())
mine, theirs = (f"1/{robot['device_id']}/2026-11-20/a.mcap" for robot in robots)
# The robot that made the episode, given a new key: it goes on, but not over what was verified.
device = mcap.split("/")[1]
maker = next(robot for robot in ask("/robots?limit=100", token=token)["items"] if robot["device_id"] == device)
renewed = ask(f"/robots/{maker['id']}/ws-client-auth-token/rotate", token=token, method="POST")
maker = client(endpoint, renewed["store_access_key"], renewed["store_secret_key"])

big = bytes(range(256)) * (24 * 1024)  # 6 MiB: two parts
expect(404, "HEAD of what is not there", lambda: one.head_object(Bucket=bucket, Key=mine))
expect(200, "PUT below its own name", lambda: one.put_object(Bucket=bucket, Key=mine, Body=b"mine", Metadata={"checksum-sha256": "0"}))
expect(200, "HEAD of its own", lambda: one.head_object(Bucket=bucket, Key=mine))
expect(200, "PUT of the other", lambda: two.put_object(Bucket=bucket, Key=theirs, Body=b"theirs"))
upload = one.create_multipart_upload(Bucket=bucket, Key=mine)["UploadId"]
parts = [{"PartNumber": n + 1, "ETag": one.upload_part(Bucket=bucket, Key=mine, UploadId=upload, PartNumber=n + 1,
                                                        Body=big[n * (5 << 20):(n + 1) * (5 << 20)])["ETag"]} for n in range(2)]
expect(200, "an upload in parts", lambda: one.complete_multipart_upload(Bucket=bucket, Key=mine, UploadId=upload, MultipartUpload={"Parts": parts}))

for robot, foreign in ((one, theirs), (two, mine), (one, mcap), (two, sidecar)):
    expect(403, f"HEAD {foreign}", lambda: robot.head_object(Bucket=bucket, Key=foreign))
    expect(403, f"GET {foreign}", lambda: robot.get_object(Bucket=bucket, Key=foreign))
    expect(403, f"PUT {foreign}", lambda: robot.put_object(Bucket=bucket, Key=foreign, Body=b"x"))
    expect(403, f"DELETE {foreign}", lambda: robot.delete_object(Bucket=bucket, Key=foreign))
    expect(403, f"parts of {foreign}", lambda: robot.create_multipart_upload(Bucket=bucket, Key=foreign))
    expect(403, f"copy of {foreign}", lambda: robot.copy_object(Bucket=bucket, Key=mine, CopySource=f"{bucket}/{foreign}"))
    expect(403, f"copy onto {foreign}", lambda: robot.copy_object(Bucket=bucket, Key=foreign, CopySource=f"{bucket}/{mine}"))
for robot in (one, two, maker):
    expect(403, "listing", lambda: robot.list_objects_v2(Bucket=bucket))
    expect(403, "listing buckets", lambda: robot.list_buckets())
    expect(403, "making a bucket", lambda: robot.create_bucket(Bucket="another-bucket"))
    expect(403, "deleting the bucket", lambda: robot.delete_bucket(Bucket=bucket))
    expect(403, "deleting many", lambda: robot.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": mcap}, {"Key": mine}]}))

# The episode's objects, by their own robot and by the server's own key.
before = {key: server.get_object(Bucket=bucket, Key=key)["Body"].read() for key in (mcap, sidecar)}
for s3 in (maker, server):
    for key, content in before.items():
        expect(200, f"the same bytes over {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=content))
        expect(503, f"other bytes over {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"other"))
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"other")["ETag"]
        expect(503, f"other parts over {key}", lambda: s3.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}))
        expect(403, f"deleting {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
expect(503, "a copy onto an episode", lambda: server.copy_object(Bucket=bucket, Key=mcap, CopySource=f"{bucket}/{mine}"))
expect(409, "deleting a bucket that is not empty", lambda: server.delete_bucket(Bucket=bucket))
left = server.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": mcap}, {"Key": sidecar}]})
if len(left.get("Errors", [])) != 2:
    sys.exit(f"store-test: an episode's objects were deleted with others: {left}")
for key, content in before.items():
    if server.get_object(Bucket=bucket, Key=key)["Body"].read() != content:
        sys.exit(f"store-test: {key} is not what it was")
if (size := server.head_object(Bucket=bucket, Key=mine)["ContentLength"]) != len(big):
    sys.exit(f"store-test: {mine} has {size} bytes")

# A made-up key, one that looks like a robot's (which may be one that is restored soon), and one that was replaced.
expect(403, "a made-up key", lambda: client(endpoint, "somebody", "x").head_object(Bucket=bucket, Key=mine))
expect(503, "a made-up key of a robot", lambda: client(endpoint, "KRAAAAAAAAAAAAAAAAAA", "x").head_object(Bucket=bucket, Key=mine))
again = ask(f"/robots/{robots[0]['robot_id']}/ws-client-auth-token/rotate", token=token, method="POST")
fresh = client(endpoint, again["store_access_key"], again["store_secret_key"])
expect(200, "the new key", lambda: fresh.put_object(Bucket=bucket, Key=mine, Body=b"renewed"))
time.sleep(3)
expect(503, "the key before it", lambda: one.put_object(Bucket=bucket, Key=mine, Body=b"old"))
print(f"store-test: {tried} requests were answered as they should be")

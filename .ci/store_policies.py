"""The policies of docs/s3 against an S3 server that enforces them, and what `keystone doctor` says of it.

The server is moto: it takes the requests of a real client, knows users, policies, versions and locks. It does not
know policy variables, so `${aws:username}` is put in here.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import moto.settings
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.responses import ActionAuthenticatorMixin
from moto.server import ThreadedMotoServer

PROGRAM = Path(sys.argv[1]).resolve()
POLICIES = Path(__file__).parent.parent / "docs/s3"
BUCKET, FACTORY = "edge-munich", "1"
ROBOTS = ["AB-F0001-T0003-000001", "AB-F0001-T0003-000002"]

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
broken = []


def client(service, key, secret):
    settings = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=settings, **keys)


def policy(name, user=""):
    text = (POLICIES / name).read_text()
    return text.replace("BUCKET", BUCKET).replace("FACTORY_ID", FACTORY).replace("${aws:username}", user)


def user(name, document):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=document)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def check(what, held):
    print(f"{'ok     ' if held else 'BROKEN '} {what}")
    if not held:
        broken.append(what)


def allowed(what, act):
    try:
        act()
        check(what, True)
    except ClientError as error:
        check(f"{what}: {error}", False)


def refused(what, act):
    try:
        act()
        check(f"{what}: was not refused", False)
    except ClientError as error:
        check(what, error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)


def doctor(key, secret):
    """Level of every finding about the store, by id."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "PATH": os.environ["PATH"],
            "KEYSTONE_DATA_DIR": f"{folder}/data",
            "KEYSTONE_S3_ENDPOINT": endpoint,
            "KEYSTONE_S3_ACCESS_KEY": key,
            "KEYSTONE_S3_SECRET_KEY": secret,
            "KEYSTONE_S3_BUCKET": BUCKET,
        }
        ran = subprocess.run([PROGRAM, "doctor", "--json"], env=settings, cwd=folder, capture_output=True, text=True)
        findings = json.loads(ran.stdout)["findings"]
    return {finding["id"]: (finding["level"], finding["seen"]) for finding in findings if finding["id"].startswith("store.")}


iam = client("iam", "admin", "admin")
admin = client("s3", "admin", "admin")

# A bucket as the server makes it by itself.
admin.create_bucket(Bucket=BUCKET)
found = doctor("admin", "admin")
for id in ["store.versioning", "store.lock", "store.policy", "store.lifecycle"]:
    check(f"{id} is a warning on a plain bucket {found.get(id)}", found.get(id, ("",))[0] == "warning")
admin.delete_bucket(Bucket=BUCKET)

admin.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
admin.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=json.loads(policy("object-lock.json")))
admin.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=json.loads(policy("lifecycle.json")))
keys = [user(name, policy("robots-policy.json", name)) for name in ROBOTS]
server_key = user("keystone", policy("server-policy.json"))
mighty_key = user("mighty", json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}))

# From here on every request needs the right to make it.
moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
ActionAuthenticatorMixin.request_count = 0
one, two = [client("s3", *key) for key in keys]
mine, other = [f"{FACTORY}/{name}/2026-11-25/task.mcap" for name in ROBOTS]
at = {"Bucket": BUCKET, "Key": mine}


def in_parts():
    upload = one.create_multipart_upload(**at)["UploadId"]
    part = one.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"second")
    one.list_parts(**at, UploadId=upload)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    one.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)


def given_up():
    upload = one.create_multipart_upload(**at)["UploadId"]
    one.abort_multipart_upload(**at, UploadId=upload)


# This server asks a bucket's policy about DeleteObject where S3 asks about AbortMultipartUpload; so before it is set.
allowed("a robot gives an upload up", given_up)
mighty = client("s3", *mighty_key)
mighty.put_bucket_policy(Bucket=BUCKET, Policy=policy("bucket-policy.json"))

allowed("a robot uploads under its name", lambda: one.put_object(**at, Body=b"first"))
allowed("a robot looks at what it uploaded", lambda: one.head_object(**at))
allowed("a robot uploads in parts", in_parts)
refused("a robot does not upload under another's name", lambda: one.put_object(Bucket=BUCKET, Key=other, Body=b"x"))
refused("a robot does not read another's recording", lambda: two.get_object(**at))
refused("a robot does not delete its recording", lambda: one.delete_object(**at))
refused("a robot does not delete another's recording", lambda: two.delete_object(**at))
refused("a robot does not delete the bucket", lambda: one.delete_bucket(Bucket=BUCKET))
suspended = {"Status": "Suspended"}
refused("a robot does not end versioning", lambda: one.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=suspended))
refused("a robot changes no policy", lambda: one.delete_bucket_policy(Bucket=BUCKET))

reader = client("s3", *server_key)
allowed("the server reads", lambda: reader.get_object(**at))
refused("the server overwrites no recording", lambda: reader.put_object(**at, Body=b"another one"))
allowed("the server publishes the tree of the log", lambda: reader.put_object(Bucket=at["Bucket"], Key="_log/keystone-edge/1/checkpoint", Body=b"1"))
refused("the server deletes nothing", lambda: reader.delete_object(**at))

versions = mighty.list_object_versions(Bucket=BUCKET, Prefix=mine)["Versions"]
bodies = {mighty.get_object(**at, VersionId=version["VersionId"])["Body"].read() for version in versions}
check("what was overwritten is kept as a version", bodies == {b"first", b"second"})
refused("a key with every right does not delete a recording", lambda: mighty.delete_object(**at))
refused("nor a version of it", lambda: mighty.delete_object(**at, VersionId=versions[0]["VersionId"]))
refused("nor by stepping over the lock", lambda: mighty.delete_object(**at, VersionId=versions[0]["VersionId"], BypassGovernanceRetention=True))

found = doctor(*server_key)
for id in ["store.reach", "store.versioning", "store.lock", "store.policy", "store.lifecycle"]:
    check(f"{id} is ok now {found.get(id)}", found.get(id, ("",))[0] == "ok")
unknown = doctor("nobody", "nothing")
check(f"an unknown key is a problem {unknown.get('store.reach')}", unknown.get("store.reach", ("",))[0] == "problem")

server.stop()
sys.exit(f"{len(broken)} broken" if broken else 0)

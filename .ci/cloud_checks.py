"""The simulated cloud, as boto3 sees it."""

import base64
import hashlib
import io

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cloud_trial import check, cloud, content, control, failed, tried

MIB = 1 << 20
bucket = cloud["buckets"][0]


def client(attempts=1, **changed):
    key = {"aws_access_key_id": cloud["access_key"], "aws_secret_access_key": cloud["secret_key"]} | changed
    settings = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=cloud["s3_endpoint"], region_name="us-east-1", config=settings, **key)


def refused(code, what, call):
    try:
        call()
    except ClientError as error:
        found = error.response["Error"]["Code"]
        check(f"{what}: {found} instead of {code}", found == code)
    else:
        failed(f"{what}: not refused")


def reported(key):
    return next(found for found in control("/report")["objects"] if found["key"] == key)


s3 = client()
key = "edge-1/工厂/a b+c.mcap"
small = content(300_000, 1)
put = s3.put_object(Bucket=bucket, Key=key, Body=small, ChecksumAlgorithm="SHA256", Metadata={"episode": "ep_1"})
check("the tag of an object is its MD5", put["ETag"] == f'"{hashlib.md5(small).hexdigest()}"')
check("its checksum", put["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(small).digest()).decode())
head = s3.head_object(Bucket=bucket, Key=key)
check("its size and metadata", (head["ContentLength"], head["Metadata"]) == (len(small), {"episode": "ep_1"}))
check("a range of it", s3.get_object(Bucket=bucket, Key=key, Range="bytes=10-99")["Body"].read() == small[10:100])
check("all of it", s3.get_object(Bucket=bucket, Key=key)["Body"].read() == small)
check("the list", [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix="edge-1/")["Contents"]] == [key])
refused("PreconditionFailed", "a write over it", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
wrong = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()
refused("BadDigest", "a wrong checksum", lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"x", ChecksumSHA256=wrong))
refused("SignatureDoesNotMatch", "a wrong secret", lambda: client(aws_secret_access_key="a guess").list_objects_v2(Bucket=bucket))
refused("InvalidAccessKeyId", "an unknown key", lambda: client(aws_access_key_id="another").list_objects_v2(Bucket=bucket))
refused("NoSuchBucket", "another bucket", lambda: s3.put_object(Bucket="another-bucket", Key="x", Body=b"x"))

# In parts, as boto3 does it by itself, four at a time.
for algorithm in ["SHA256", "CRC32"]:
    large, name = content(23 * MIB + 5, 2), f"edge-1/{algorithm}.mcap"
    settings = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(large), bucket, name, ExtraArgs={"ChecksumAlgorithm": algorithm}, Config=settings)
    back = io.BytesIO()
    s3.download_fileobj(bucket, name, back, Config=settings)
    check(f"{algorithm}: the same bytes", back.getvalue() == large)
    found = reported(name)
    check(f"{algorithm}: the report {found}", (found["completed"], found["parts"], found["resent_bytes"]) == (1, 5, 0))
    check(f"{algorithm}: its hash", found["sha256"] == hashlib.sha256(large).hexdigest())
    kind = s3.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
    check(f"{algorithm}: its checksum, {kind}", kind[f"Checksum{algorithm}"].endswith("-5"))

# Part by part: listed, refused, aborted.
upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="SHA256")["UploadId"]
part = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
refused("BadDigest", "a wrong part", lambda: s3.upload_part(PartNumber=1, Body=b"x", ChecksumSHA256=wrong, **part))
first = s3.upload_part(PartNumber=1, Body=small, ChecksumAlgorithm="SHA256", **part)
second = s3.upload_part(PartNumber=2, Body=b"x", ChecksumAlgorithm="SHA256", **part)
check("the list of parts", [found["Size"] for found in s3.list_parts(**part)["Parts"]] == [len(small), 1])
named = [{"PartNumber": n, "ETag": one["ETag"], "ChecksumSHA256": one["ChecksumSHA256"]} for n, one in [(1, first), (2, second)]]
refused("EntityTooSmall", "a small part", lambda: s3.complete_multipart_upload(MultipartUpload={"Parts": named}, **part))
named[0]["ChecksumSHA256"] = wrong
refused("InvalidPart", "another checksum", lambda: s3.complete_multipart_upload(MultipartUpload={"Parts": named[:1]}, **part))
check("what is unfinished", [found["parts"] for found in control("/report")["unfinished"]] == [2])
s3.abort_multipart_upload(**part)
refused("NoSuchUpload", "an aborted upload", lambda: s3.list_parts(**part))

# What goes wrong on purpose is survived by a client that tries again, and counted.
before = control("/report")["faults"]
control("/faults", {"cut_connections": 0.2, "slow_downs": 0.2, "lost_answers": [{"kind": "put", "share": 0.2}]}, "PUT")
patient = client(attempts=10)
for n in range(20):
    patient.put_object(Bucket=bucket, Key=f"edge-2/{n}", Body=content(50_000 + n, n))
control("/faults", {}, "PUT")
for n in range(20):
    check(f"object {n}", s3.get_object(Bucket=bucket, Key=f"edge-2/{n}")["Body"].read() == content(50_000 + n, n))
faults = control("/report")["faults"]
check(f"faults are counted: {before} {faults}", all(faults.get(name) for name in ["cut_connections", "slow_downs", "lost_put_answers"]))
control("/faults", {"down": True}, "PUT")
try:
    s3.head_object(Bucket=bucket, Key=key)
    failed("an outage in which it answers")
except BotoCoreError:
    check("an outage in which it does not answer", True)
control("/faults", {"key_lifetime_ms": 0}, "PUT")
refused("ExpiredToken", "an expired key", lambda: s3.get_object(Bucket=bucket, Key=key))
control("/faults", {}, "PUT")
s3.delete_object(Bucket=bucket, Key=key)
refused("NoSuchKey", "a deleted object", lambda: s3.get_object(Bucket=bucket, Key=key))
print(f"cloud-test: {tried()} answers of the simulated cloud are what boto3 expects")

"""The OSS endpoint of the simulated cloud, as the vendor's own client sees it."""

import hashlib
import pathlib
import sys

import oss2
from cloud_trial import check, cloud, content, control, failed, tried

KIB = 1 << 10
PART = 100 * KIB


def refused(status, code, what, call):
    try:
        call()
    except oss2.exceptions.ServerError as error:
        check(f"{what}: {error.status} {error.code} instead of {status} {code}", (error.status, error.code) == (status, code))
    else:
        failed(f"{what}: not refused")


def bucket(auth, name=None):
    # Its client compares the CRC-64 of everything by itself.
    return oss2.Bucket(auth, cloud["oss_endpoint"], name or cloud["oss_bucket"], connect_timeout=30, enable_crc=True)


def tag_of_parts(parts):
    tags = "".join(hashlib.md5(part).hexdigest().upper() for part in parts)
    return f"{hashlib.md5(tags.encode()).hexdigest().upper()}-{len(parts)}"


own = oss2.Auth(cloud["access_key"], cloud["secret_key"])
given = control("/sts-credentials", {}, "POST")
sts = oss2.StsAuth(given["access_key_id"], given["access_key_secret"], given["security_token"])
keys = ["plain", "with a blank", "a+b&c=d", "工厂/工位 1.mcap", "100%/%2F/%E5%B7%A5", "~!@#$^*()[]{};:',?"]

for who, auth in [("a person", own), ("a token", sts)]:
    oss = bucket(auth)
    for key in keys:
        small = content(3000, len(key))
        put = oss.put_object(key, small, headers={"x-oss-meta-episode": "ep 1", "Content-Type": "application/x-mcap"})
        check(f"{who}: the tag of {key}", put.etag == hashlib.md5(small).hexdigest().upper())
        head = oss.head_object(key)
        check(f"{who}: what is known of {key}", (head.content_length, head.object_type, head.etag) == (3000, "Normal", put.etag))
        check(f"{who}: the metadata of {key}", head.headers["x-oss-meta-episode"] == "ep 1" and head.content_type == "application/x-mcap")
        check(f"{who}: {key}", oss.get_object(key).read() == small)
        check(f"{who}: some of {key}", oss.get_object(key, byte_range=(10, 99)).read() == small[10:100])
        check(f"{who}: {key} is there", oss.object_exists(key) and not oss.object_exists(key + "x"))

    # In parts, with everything that is signed beside the key, and what is not.
    key, large = f"{who}/工 +.mcap", content(2 * PART + 17, 7)
    parts = [large[at:at + PART] for at in range(0, len(large), PART)]
    upload = oss.init_multipart_upload(key).upload_id
    sent = []
    for number, part in enumerate(parts, 1):
        result = oss.upload_part(key, upload, number, part)
        check(f"{who}: the tag of part {number}", result.etag == hashlib.md5(part).hexdigest().upper())
        sent.append(oss2.models.PartInfo(number, result.etag, size=len(part), part_crc=result.crc))
    listed = oss.list_parts(key, upload, max_parts=2)
    check(f"{who}: the first page", ([part.part_number for part in listed.parts], listed.is_truncated) == ([1, 2], True))
    rest = oss.list_parts(key, upload, marker=listed.next_marker)
    check(f"{who}: the second page", ([(part.part_number, part.size) for part in rest.parts], rest.is_truncated) == ([(3, 17)], False))
    wrong = [oss2.models.PartInfo(1, sent[1].etag)]
    refused(400, "InvalidPart", f"{who}: another tag", lambda: oss.complete_multipart_upload(key, upload, wrong))
    small = [oss2.models.PartInfo(3, sent[2].etag), oss2.models.PartInfo(4, oss.upload_part(key, upload, 4, b"x").etag)]
    refused(400, "EntityTooSmall", f"{who}: a small part", lambda: oss.complete_multipart_upload(key, upload, small))
    made = oss.complete_multipart_upload(key, upload, sent)
    check(f"{who}: the tag of an object in parts", made.etag == tag_of_parts(parts))
    check(f"{who}: its CRC is that of its parts", made.crc == oss2.utils.calc_obj_crc_from_parts(sent))
    check(f"{who}: its kind", oss.head_object(key).object_type == "Multipart")
    check(f"{who}: its bytes", oss.get_object(key).read() == large)
    refused(404, "NoSuchUpload", f"{who}: twice", lambda: oss.complete_multipart_upload(key, upload, sent))
    meta = oss.get_object_meta(key)
    check(f"{who}: objectMeta", (meta.etag, meta.content_length) == (made.etag, len(large)))
    asked = {"response-content-type": "text/plain; charset=utf-8", "response-content-disposition": 'attachment; filename="工 +.mcap"'}
    got = oss.get_object(key, params={"response-content-type": asked["response-content-type"]})
    check(f"{who}: a parameter that is signed", got.headers["Content-Type"] == asked["response-content-type"])
    upload = oss.init_multipart_upload(key, params={"sequential": ""}).upload_id
    oss.abort_multipart_upload(key, upload)
    refused(404, "NoSuchUpload", f"{who}: an aborted upload", lambda: oss.list_parts(key, upload))

# As its client does it by itself, in threads.
folder = pathlib.Path(sys.argv[1]).parent
large = content(12 * 100 * KIB + 5, 9)
(folder / "large").write_bytes(large)
store = oss2.ResumableStore(root=str(folder))
oss2.resumable_upload(bucket(sts), "by itself", str(folder / "large"), store=store, multipart_threshold=PART, part_size=PART, num_threads=3)
check("an upload by itself", bucket(own).get_object("by itself").read() == large)
found = next(object for object in control("/report")["objects"] if object["key"] == "by itself")
check(f"its report {found}", (found["completed"], found["parts"], found["resent_bytes"]) == (1, 13, 0))
check("its hash", found["sha256"] == hashlib.sha256(large).hexdigest())

oss = bucket(own)
guess = bucket(oss2.Auth(cloud["access_key"], "a guess"))
refused(403, "SignatureDoesNotMatch", "a wrong secret", lambda: guess.put_object("x", b"x"))
refused(403, "InvalidAccessKeyId", "an unknown key", lambda: bucket(oss2.Auth("another", "a guess")).put_object("x", b"x"))
refused(403, "AccessDenied", "nobody", lambda: bucket(oss2.AnonymousAuth()).get_object("plain"))
without = oss2.Auth(given["access_key_id"], given["access_key_secret"])
refused(403, "InvalidAccessKeyId", "a token that is missing", lambda: bucket(without).get_object("plain"))
other = oss2.StsAuth(given["access_key_id"], given["access_key_secret"], "another token")
refused(403, "InvalidSecurityToken", "a wrong token", lambda: bucket(other).get_object("plain"))
refused(404, "NoSuchBucket", "another bucket", lambda: bucket(own, "another-bucket").get_object("plain"))
refused(404, "NoSuchKey", "nothing", lambda: oss.get_object("nothing"))
kept = {"x-oss-forbid-overwrite": "true"}
refused(409, "FileAlreadyExists", "a write over it", lambda: oss.put_object("plain", b"x", headers=kept))
refused(400, "InvalidDigest", "a wrong MD5", lambda: oss.put_object("x", b"x", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}))
oss.delete_object("plain")
check("a deleted object is gone", not oss.object_exists("plain"))
control("/expire-credentials", {}, "POST")
refused(403, "SecurityTokenExpired", "a token that expired", lambda: bucket(sts).put_object("x", b"x"))
try:
    bucket(sts).head_object("with a blank")
    failed("a token that expired reads")
except oss2.exceptions.ServerError as error:
    # The body of a HEAD is in a header.
    check(f"the code of a refused HEAD, {error.code}", error.code == "SecurityTokenExpired")
print(f"cloud-test: {tried()} answers of the simulated OSS are what oss2 expects")

"""The promises of a bucket, kept by every store: the storage lib's own test, on real servers."""
import json
import os
import subprocess

from harness import azure, s3
from harness.paths import REPOSITORY


def test_every_store_keeps_the_promises_of_a_bucket(s3_server, gcs_server, azure_server):
    s3_bucket, gcs_bucket, azure_bucket = (server.new_bucket() for server in (s3_server, gcs_server, azure_server))
    described = [
        {"store": "s3", "bucket": s3_bucket.name, "endpoint": f"127.0.0.1:{s3_server.port}",
         "key": s3.ACCESS_KEY, "secret": s3.SECRET_KEY},
        {"store": "gcs", "bucket": gcs_bucket.name, "endpoint": f"127.0.0.1:{gcs_server.port}", "prefix": "a/prefix"},
        {"store": "azure", "bucket": azure_bucket.name, "endpoint": f"127.0.0.1:{azure_server.port}",
         "account": azure.ACCOUNT, "secret": azure.KEY},
    ]
    # All packages are selected, so that nothing is compiled with other features than the rest of the tests.
    command = [os.environ.get("CARGO", "cargo"), "test", "--workspace", "--locked", "--test", "buckets", "--", "--nocapture"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=1200,
        env={**os.environ, "TACTUS_TEST_BUCKETS": json.dumps(described)})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.count("checking ") == 1 + len(described), done.stdout
    # No part of an upload that was given up stays behind.
    uploads = s3_bucket.client.list_multipart_uploads(Bucket=s3_bucket.name)
    assert not uploads.get("Uploads") and not gcs_server.uploads.parts

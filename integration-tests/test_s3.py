"""Object storage over S3: a real server, and a network and server that fail."""
import json
import os
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import otlp
from harness.fault_proxy import FaultProxy
from harness.ports import free_ports
from harness.server import merge
from harness.store_tests import FAST, StoreTests, forget_local_data, refused
from harness.waiting import eventually



def push_traces(server, count=10):
    return [otlp.push_trace(server) for _ in range(count)]


class TestStore(StoreTests):
    pass


def test_spans_go_to_the_bucket_and_are_found_after_a_restart_without_local_data(servers, bucket):
    server = servers.start(config=merge(FAST, bucket.config()))
    trace_ids = push_traces(server)
    server.flush()
    eventually(bucket.blocks, "a block in the bucket")
    (block,) = bucket.blocks()
    names = {key.rsplit("/", 1)[1] for key in bucket.keys(f"single-tenant/{block}/")}
    assert {"data.parquet", "meta.json", "index", "bloom-0"} <= names
    meta = json.loads(bucket.get(f"single-tenant/{block}/meta.json"))
    assert (meta["format"], meta["blockID"], meta["tenantID"]) == ("vParquet4", block, "single-tenant")
    assert meta["totalObjects"] == len(trace_ids)
    assert meta["size"] == len(bucket.get(f"single-tenant/{block}/data.parquet"))
    assert server.search("{}") == dict.fromkeys(trace_ids, 3)
    assert server.stop() == 0
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "all traces from the bucket")
    assert len(server.trace(trace_ids[0])) == 3
    # Without a range it would be the last seconds, and the machine may be slow.
    now = int(time.time())
    tags = server.get("/api/v2/search/tags", scope="resource", start=now - 3600, end=now + 60).json()
    assert "service.name" in tags["scopes"][0]["tags"]
    # The tenant index that other readers of the bucket look for.
    eventually(lambda: "single-tenant/index.json.gz" in bucket.keys(), "the tenant index")


def test_credentials_come_from_the_environment(servers, bucket):
    config = merge(FAST, bucket.config())
    for key in ("access_key", "secret_key"):
        del config["storage"]["trace"]["s3"][key]
    env = {"AWS_ACCESS_KEY_ID": "test-access-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}
    server = servers.start(config=config, env=env)
    push_traces(server, 1)
    server.flush()
    eventually(bucket.blocks, "a block")


class Metadata(BaseHTTPRequestHandler):
    """The metadata of an EC2 instance that knows no sessions. Its credentials are so short-lived that each request asks anew."""

    def do_PUT(self):
        time.sleep(self.server.delay)
        self.send_error(404)

    def do_GET(self):
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 250))
        keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "t", "Expiration": end}
        body = b"role" if self.path.endswith("/security-credentials/") else json.dumps(keys).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("delay", [0, 3])
def test_role_of_an_instance_without_sessions_is_used_until_its_credentials_expire(servers, bucket, tmp_path, delay):
    config = merge(FAST, bucket.config())
    for key in ("access_key", "secret_key"):
        del config["storage"]["trace"]["s3"][key]
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as metadata:
        metadata.delay, metadata.daemon_threads = delay, True
        threading.Thread(target=metadata.serve_forever, daemon=True).start()
        env = {"HOME": str(tmp_path), "AWS_METADATA_ENDPOINT": f"http://127.0.0.1:{metadata.server_port}"}
        server = servers.start(config=config, env=env)
        push_traces(server, 1)
        server.flush()
        eventually(bucket.blocks, "a block")
        metadata.shutdown()
    # Nobody listens there any more.
    push_traces(server, 1)
    server.flush()
    eventually(lambda: len(bucket.blocks()) > 1, "a block with the credentials of before")
    assert "the old ones are still valid" in server.logs()


@pytest.fixture
def proxy(s3_server):
    with FaultProxy(s3_server.port) as running:
        yield running


WRITE_FAULTS = ["refuse", "reset", "stall", "cut", "error"]


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_storage_that_fails_while_writing_loses_and_disturbs_nothing(servers, bucket, proxy, fault):
    server = servers.start(config=merge(FAST, bucket.config(proxy.port)))
    proxy.set(fault, cut_after=20)
    trace_ids = push_traces(server)
    server.get("/flush", timeout=120)
    eventually(lambda: server.metric("tempo_ingester_failed_flushes_total") > 0, f"a flush fails: {fault}", 90)
    # Recent data is answered although storage is away; pushes are taken.
    assert server.get("/ready").status_code == 200
    trace_ids += push_traces(server, 2)
    assert server.metric("tempo_ingester_blocks_flushed_total") == 0
    proxy.set("pass")
    eventually(bucket.blocks, "the block after the fault", 120)
    eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "every trace, once", 60)
    server.flush()
    assert server.stop() == 0
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "every trace from the bucket, once", 60)


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_storage_that_fails_while_reading_is_an_error_and_heals(servers, bucket, proxy, fault):
    writer = servers.start("writer", config=merge(FAST, bucket.config()))
    stored = push_traces(writer, 20)
    writer.flush()
    eventually(bucket.blocks, "a block")
    writer.stop()
    server = servers.start("reader", config=merge(FAST, bucket.config(proxy.port)))
    eventually(lambda: server.get("/api/search/tags").status_code == 200, "the first poll")
    proxy.set(fault, cut_after=400)
    # Never an answer that silently lacks what the bucket holds.
    response = server.get(f"/api/traces/{stored[0]}", timeout=120)
    assert response.status_code in (200, 500, 502, 503, 504), response.status_code
    # Nothing else is disturbed.
    assert server.get("/ready").status_code == 200
    pushed = push_traces(server, 1)
    assert server.get("/api/echo").text == "echo\n"
    proxy.set("pass")
    eventually(lambda: server.search("{}") == dict.fromkeys(stored + pushed, 3), "all is well again", 60)
    assert len(server.trace(stored[0])) == 3


def test_foreign_and_damaged_objects_in_the_bucket_are_survived(servers, bucket):
    server = servers.start(config=merge(FAST, bucket.config()))
    trace_ids = push_traces(server)
    server.flush()
    eventually(bucket.blocks, "a block")
    server.stop()
    other = "44444444-4444-4444-8444-444444444444"
    bucket.put("notes.txt", b"hello")
    bucket.put("overrides/single-tenant/overrides.json", b"{}")
    bucket.put("single-tenant/notes.txt", b"hello")
    bucket.put(f"single-tenant/{other}/meta.json", b"{ not json")
    bucket.put("single-tenant/55555555-5555-4555-8555-555555555555/data.parquet", b"an upload that never ended")
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "the good block", 60)
    assert other in server.logs()


def test_missing_bucket_stops_the_start_with_a_sentence(servers, bucket):
    said = refused(servers, bucket.config(bucket="nowhere"))
    assert "storage.trace.s3.bucket: the bucket" in said
    assert "nowhere" in said and "does not exist at http://127.0.0.1:" in said


def test_unknown_user_stops_the_start_with_a_sentence(servers, s3_server, bucket):
    s3_server.demand_credentials(True)
    try:
        said = refused(servers, bucket.config())
        config = bucket.config()
        for key in ("access_key", "secret_key"):
            del config["storage"]["trace"]["s3"][key]
        env = {"AWS_ACCESS_KEY_ID": "unknown", "AWS_SECRET_ACCESS_KEY": "unknown"}
        of_environment = refused(servers, config, env=env)
    finally:
        s3_server.demand_credentials(False)
    assert "storage.trace.s3.access_key: " in said and "InvalidAccessKeyId" in said
    assert "does not accept access_key and secret_key of the configuration" in said
    assert "does not accept the environment variables AWS_ACCESS_KEY_ID" in of_environment


def test_encryption_context_is_signed(servers, s3_server, bucket):
    access_key, secret_key = s3_server.new_user()
    sse = {"type": "SSE-KMS", "kms_key_id": "a-key", "kms_encryption_context": '{"team": "tracing"}'}
    s3_server.demand_credentials(True)
    try:
        said = refused(servers, bucket.config(access_key=access_key, secret_key="another", sse=sse))
        assert "SignatureDoesNotMatch" in said, "signatures are checked here"
        server = servers.start(config=merge(FAST, bucket.config(access_key=access_key, secret_key=secret_key, sse=sse)))
        otlp.push_trace(server)
        server.flush()
        eventually(lambda: server.metric("tempo_ingester_blocks_flushed_total") > 0, "a block")
    finally:
        s3_server.demand_credentials(False)
    head = bucket.client.head_object(Bucket=bucket.name, Key=f"single-tenant/{bucket.blocks()[0]}/data.parquet")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "a-key")


def test_no_credentials_anywhere_stop_the_start_with_a_sentence(servers, bucket, tmp_path):
    config = bucket.config(retry_max_attempts=1)
    for key in ("access_key", "secret_key"):
        del config["storage"]["trace"]["s3"][key]
    (nobody,) = free_ports(1)
    env = {"HOME": str(tmp_path), "AWS_METADATA_ENDPOINT": f"http://127.0.0.1:{nobody}"}
    assert "failed to get credentials: none are configured" in refused(servers, config, env=env)


def answer(status, code):
    """Settings of the proxy that refuses everything."""
    return {"status": status, "body": f"<Error><Code>{code}</Code></Error>".encode()}


@pytest.mark.parametrize(("status", "code", "sentence"), [
    (403, "AccessDenied", "may not list the bucket"),
    (301, "PermanentRedirect", "storage.trace.s3.region: "),
    (400, "AuthorizationHeaderMalformed", "storage.trace.s3.region: "),
])
def test_refusal_for_good_stops_the_start_with_a_sentence(servers, bucket, proxy, status, code, sentence):
    proxy.set("error", **answer(status, code))
    said = refused(servers, bucket.config(proxy.port))
    assert sentence in said and len([line for line in said.splitlines() if sentence in line]) == 1, said


def test_clock_that_is_off_does_not_stop_the_start(servers, bucket, proxy):
    proxy.set("error", **answer(403, "RequestTimeTooSkewed"))
    server = servers.start(config=merge(FAST, bucket.config(proxy.port)))
    assert "the clock of this machine and that of the store differ too much" in server.logs()
    trace_id = otlp.push_trace(server)
    assert len(server.trace(trace_id)) == 3
    proxy.set("pass")


def test_objects_carry_tags_metadata_and_storage_class(servers, bucket):
    extra = {"tags": {"team": "tracing"}, "metadata": {"owner": "me"}, "storage_class": "STANDARD_IA",
             "sse": {"type": "SSE-S3"}}
    server = servers.start(config=merge(FAST, bucket.config(**extra)))
    otlp.push_trace(server)
    server.flush()
    eventually(bucket.blocks, "a block")
    key = f"single-tenant/{bucket.blocks()[0]}/data.parquet"
    head = bucket.client.head_object(Bucket=bucket.name, Key=key)
    assert (head["Metadata"], head["StorageClass"]) == ({"owner": "me"}, "STANDARD_IA")
    assert head["ServerSideEncryption"] == "AES256"
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
    assert tags == [{"Key": "team", "Value": "tracing"}]

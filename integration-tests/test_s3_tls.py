"""Object storage over TLS."""
import pytest

from harness import otlp
from harness.certificates import Certificates, SelfSigned
from harness.s3 import S3
from harness.server import merge
from harness.store_tests import FAST, refused
from harness.waiting import eventually


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("s3-tls")
    server = S3(directory, tls=Certificates(directory)).start()
    yield server
    server.close()


@pytest.fixture
def bucket(tls_server):
    return tls_server.new_bucket()


@pytest.mark.parametrize("settings", ["authority", "any", "newest", "client"])
def test_spans_go_to_a_bucket_over_tls(servers, bucket, tls_server, settings):
    files = tls_server.tls
    extra = {
        "authority": {"tls_ca_path": str(files.authority)},
        "any": {"tls_insecure_skip_verify": True},
        "newest": {"tls_ca_path": str(files.authority), "tls_min_version": "VersionTLS13"},
        "client": {
            "tls_ca_path": str(files.authority), "tls_cert_path": str(files.certificate), "tls_key_path": str(files.key)},
    }[settings]
    server = servers.start(config=merge(FAST, bucket.config(**extra)))
    otlp.push_trace(server)
    server.flush()
    eventually(bucket.blocks, "a block")


def test_certificate_of_the_store_may_be_its_own_authority(servers, tmp_path):
    store = S3(tmp_path, tls=SelfSigned(tmp_path)).start()
    try:
        bucket = store.new_bucket()
        server = servers.start(config=merge(FAST, bucket.config(tls_ca_path=str(store.tls.authority))))
        otlp.push_trace(server)
        server.flush()
        eventually(bucket.blocks, "a block")
    finally:
        store.close()


def test_unknown_authority_is_told_and_spans_are_kept(servers, bucket):
    server = servers.start(config=merge(FAST, bucket.config(retry_max_attempts=1)))
    assert "storage.trace.s3.insecure and tls_ca_path: no TLS with https://127.0.0.1:" in server.logs()
    trace_id = otlp.push_trace(server)
    assert len(server.trace(trace_id)) == 3


def test_missing_authority_file_stops_the_start(servers, bucket):
    assert "s3.tls_ca_path: /nowhere/ca.pem: No such file" in refused(servers, bucket.config(tls_ca_path="/nowhere/ca.pem"))

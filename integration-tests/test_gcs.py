"""Object storage at Google, by a server that stands in for it."""
import json

import pytest

from harness import otlp
from harness.fault_proxy import FaultProxy
from harness.server import merge
from harness.store_tests import FAST, StoreTests, refused
from harness.waiting import eventually


@pytest.fixture
def bucket(gcs_server):
    return gcs_server.new_bucket()


@pytest.fixture
def proxy(gcs_server):
    with FaultProxy(gcs_server.port) as running:
        yield running


class TestStore(StoreTests):
    pass


def test_objects_carry_metadata_and_cache_control(servers, bucket):
    extra = {"object_metadata": {"team": "tracing"}, "object_cache_control": "no-store", "chunk_buffer_size": 1 << 20}
    server = servers.start(config=merge(FAST, bucket.config(**extra)))
    otlp.push_trace(server)
    server.flush()
    eventually(bucket.blocks, "a block")
    key = f"single-tenant/{bucket.blocks()[0]}/meta.json"
    assert bucket.facts(key)["metadata"] == {"team": "tracing"}
    assert bucket.server.uploads.cache_control[bucket.name, key] == "no-store"


def test_emulator_of_the_environment_needs_no_endpoint(servers, bucket):
    config = bucket.config()
    del config["storage"]["trace"]["gcs"]["endpoint"], config["storage"]["trace"]["gcs"]["insecure"]
    env = {"STORAGE_EMULATOR_HOST": f"127.0.0.1:{bucket.server.port}"}
    server = servers.start(config=merge(FAST, config), env=env)
    otlp.push_trace(server)
    server.flush()
    eventually(bucket.blocks, "a block")


def test_missing_bucket_stops_the_start_with_a_sentence(servers, bucket):
    said = refused(servers, bucket.config(bucket_name="nowhere"))
    assert 'storage.trace.gcs.bucket_name: the bucket "nowhere" does not exist at http://127.0.0.1:' in said


def test_credentials_that_cannot_be_read_stop_the_start_with_a_sentence(servers, bucket, tmp_path):
    config = bucket.config(insecure=False)
    file = tmp_path / "credentials.json"
    for content in [None, "{", json.dumps({"type": "external_account"})]:
        if content is not None:
            file.write_text(content)
        said = refused(servers, config, env={"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
        assert "gcs credentials: the file of GOOGLE_APPLICATION_CREDENTIALS" in said
    assert "only a key of a service account, or the file of gcloud, can be used" in said

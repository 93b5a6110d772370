"""Object storage at Azure, by a server that stands in for it."""
import base64

import pytest

from harness import otlp
from harness.azure import ACCOUNT, KEY
from harness.fault_proxy import FaultProxy
from harness.server import merge
from harness.store_tests import FAST, StoreTests, refused
from harness.waiting import eventually


@pytest.fixture
def bucket(azure_server):
    return azure_server.new_bucket()


@pytest.fixture
def proxy(azure_server):
    with FaultProxy(azure_server.port) as running:
        yield running


class TestStore(StoreTests):
    pass


def test_account_and_key_come_from_the_environment(servers, bucket):
    config = bucket.config(buffer_size=1 << 20, max_buffers=2)
    for key in ("storage_account_name", "storage_account_key"):
        del config["storage"]["trace"]["azure"][key]
    env = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}
    server = servers.start(config=merge(FAST, config), env=env)
    otlp.push_trace(server)
    server.flush()
    eventually(bucket.blocks, "a block")


def test_missing_container_stops_the_start_with_a_sentence(servers, bucket):
    said = refused(servers, bucket.config(container_name="nowhere"))
    assert "storage.trace.azure.container_name: the container" in said
    assert "nowhere" in said and "does not exist at http://127.0.0.1:" in said


def test_wrong_key_stops_the_start_with_a_sentence(servers, bucket):
    said = refused(servers, bucket.config(storage_account_key=base64.b64encode(b"another key").decode()))
    assert "storage.trace.azure.storage_account_key: " in said
    assert "does not accept storage_account_key of the configuration" in said


def test_no_credentials_at_all_stop_the_start_with_a_sentence(servers, bucket):
    said = refused(servers, bucket.config(storage_account_key=""))
    assert "AZURE_STORAGE_KEY is not set" in said

"""Attributes that are very many, or whose values are very long lists: what a query or a flush makes of them is bounded."""
import time

import pytest
import requests

from harness import otlp
from harness.clients import at_once
from harness.protobuf import field
from test_hostile_tenants import HOSTILE, bounded

SETTINGS = {
    "multitenancy_enabled": True,
    "ingester": {"complete_block_timeout": "100ms", "flush_check_period": "50ms", "max_block_duration": "1h"},
    # Each test makes the blocks that it asks.
    "compactor": {"compaction": {"compaction_cycle": "24h"}},
    "overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 10**9, "burst_size_bytes": 10**9}}},
}
# AnyValues: an empty text, and a list.
EMPTY_TEXT, LIST = b"\x0a\x00", 5


@pytest.fixture
def server(servers):
    return servers.start(config=SETTINGS)


def attribute(key, value):
    return field(1, key) + field(2, value)


def span(*attributes):
    one = otlp.span()
    return one.trace_id.hex(), one.SerializeToString() + b"".join(field(9, pair) for pair in attributes)


def push(server, *spans, resource=b""):
    body = field(1, field(1, resource) + field(2, b"".join(field(2, span) for span in spans)))
    answer = requests.post(
        server.otlp_url + "/v1/traces", data=body, timeout=60, headers={**HOSTILE, "Content-Type": "application/x-protobuf"})
    assert answer.status_code == 200, answer.text


def ask(server, path, statuses=(200,), timeout=120, **params):
    now = int(time.time())
    answer = requests.get(
        server.url + path, params={"start": now - 3600, "end": now + 60, **params}, headers=HOSTILE, timeout=timeout)
    assert answer.status_code in statuses, (path, params, answer.status_code, answer.text[:300])
    return answer


def flush(server):
    assert server.get("/flush", timeout=120).status_code == 204


def test_list_of_a_million_elements_is_read_from_a_block(server):
    """It lies there as JSON. A tree of that would take hundreds of bytes for each element."""
    elements = field(LIST, field(1, field(LIST, field(1, EMPTY_TEXT) * 1_000_000)))
    trace_id, one = span(attribute(b"w", elements))
    push(server, one)
    flush(server)
    with bounded(server):
        for _ in range(2):
            assert len(ask(server, "/api/search", q="{ } | select(span.w)").json()["traces"]) == 1
        assert at_once(lambda _: ask(server, "/api/v2/traces/" + trace_id, (200, 503)).status_code, 3)


def test_comparison_of_resources_with_very_many_attributes_ends_with_its_client(server):
    resource = b"".join(field(1, attribute(b"r%d" % number, b"\x18\x01")) for number in range(250_000))
    for _ in range(4):
        push(server, span()[1], resource=resource)

    def leave(number):
        try:
            ask(server, "/api/metrics/query", (200, 422, 503), timeout=2, q="{ } | compare({ .x = %d })" % number)
        except requests.Timeout:
            pass

    with bounded(server):
        at_once(leave, 2)
        began = time.monotonic()
        ask(server, "/api/search", q="{ }")
        assert time.monotonic() - began < 20, "the threads are free again"


def test_very_many_names_of_attributes_are_flushed_and_asked_for(server):
    for number in range(3):
        spans = [span(*(attribute(b"k%d.%d.%d" % (number, one, key), b"\x18\x01") for key in range(600)))[1] for one in range(1_000)]
        push(server, *spans)
    with bounded(server):
        flush(server)
        ask(server, "/api/search", q="{ .k0.0.1 = 1 }")
        at_once(lambda _: ask(server, "/api/v2/search/tags", (200, 422, 503)), 4)
        at_once(lambda _: ask(server, "/api/metrics/query", (200, 422, 503), q="{ } | compare({ .k0.0.1 = 1 })"), 2)

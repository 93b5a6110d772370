"""Blocks of the configured version: what was live answers the same once it is stored."""
import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harness import otlp
from test_compaction import spans_of

COLUMNS = [
    {"scope": "resource", "name": "region", "type": "string"},
    {"scope": "resource", "name": "rack", "type": "int"},
    {"scope": "span", "name": "customer", "type": "string"},
    {"scope": "span", "name": "statement", "type": "string", "options": ["blob"]},
    {"scope": "span", "name": "tags", "type": "string", "options": ["array"]},
    {"scope": "span", "name": "http.status_code", "type": "int"},
    {"scope": "event", "name": "exception.message", "type": "string"},
    {"scope": "event", "name": "retry", "type": "int"},
]
# In vParquet4: only string columns of resource and span without options.
COLUMNS_OF_4 = [{"s": "resource", "n": "region"}, {"n": "customer"}]
QUERIES = {
    '{ resource.region = "eu" }': 3,
    "{ resource.rack = 7 }": 3,
    '{ span.customer = "acme" }': 1,
    "{ span.customer = 5 }": 1,
    '{ span.statement =~ "select .*x{20}" }': 1,
    '{ span.tags = "b" }': 1,
    '{ span.tags = "alone" }': 1,
    "{ span.http.status_code > 499 }": 1,
    '{ span.http.status_code = "odd" }': 1,
    '{ event.exception.message = "kaboom" }': 1,
    "{ event.retry > 1 }": 1,
    "{ span:childCount = 2 }": 1,
    "{ nestedSetParent < 0 }": 1,
}


def request():
    root, first, second = otlp.trace(3)
    root.attributes.extend(otlp.key_values({
        "customer": "acme", "statement": "select " + "x" * 5_000, "tags": ["a", "b", "a"], "http.status_code": 500,
    }))
    first.attributes.extend(otlp.key_values({"customer": 5, "tags": ["alone"], "http.status_code": "odd"}))
    second.attributes.extend(otlp.key_values({"customer": "", "statement": ["x"], "tags": [], "other": [1, 2]}))
    second.events.append(Span.Event(
        time_unix_nano=second.start_time_unix_nano + 5, name="exception",
        attributes=otlp.key_values({"exception.message": "kaboom", "retry": [1, 2], "plain": True})))
    return otlp.export(root, first, second, resource={"region": "eu", "rack": 7})


@pytest.mark.parametrize("version", ["vParquet4", "vParquet5"])
def test_blocks_have_the_configured_version_and_answer_as_live_spans_did(servers, version):
    block = {"version": version, "parquet_dedicated_columns": COLUMNS}
    server = servers.start(config={"storage": {"trace": {"block": block}}, "compactor": {"disabled": True}})
    pushed = request()
    server.must_push(pushed)
    (trace_id,) = otlp.ids(pushed)
    live = spans_of(server.get(f"/api/v2/traces/{trace_id}").json())
    found_live = {query: server.search(query).get(trace_id, 0) for query in QUERIES}
    server.flush()
    (directory,) = server.block_directories()
    meta = json.loads((directory / "meta.json").read_text())
    assert meta["format"] == version
    if version == "vParquet4":
        assert meta["dedicatedColumns"] == COLUMNS_OF_4
    else:
        names = [(column.get("s", "span"), column["n"]) for column in meta["dedicatedColumns"]]
        assert names == [(column["scope"], column["name"]) for column in COLUMNS]
        assert meta["dedicatedColumns"][3] == {"n": "statement", "o": ["blob"]}
    assert spans_of(server.get(f"/api/v2/traces/{trace_id}").json()) == live
    assert {query: server.search(query).get(trace_id, 0) for query in QUERIES} == found_live == QUERIES
    # Another process reads the block, too.
    server.restart()
    assert {query: server.search(query).get(trace_id, 0) for query in QUERIES} == QUERIES


def test_row_groups_are_cut_at_the_configured_size(servers):
    block = {"parquet_row_group_size_bytes": 20_000}
    server = servers.start(config={"storage": {"trace": {"block": block}}, "compactor": {"disabled": True}})
    for _ in range(40):
        server.must_push(otlp.export(*otlp.trace(20)))
    server.flush()
    (directory,) = server.block_directories()
    meta = json.loads((directory / "meta.json").read_text())
    assert meta["totalObjects"] == 40
    assert 3 <= meta["totalRecords"] <= 40
    assert sorted(server.search("{}").values()) == [20] * 40


def test_versions_that_are_only_read_are_refused_for_new_blocks(servers):
    server = servers.new(config={"storage": {"trace": {"block": {"version": "vParquet3"}}}})
    with pytest.raises(Exception, match="vParquet3 is not a valid block version for creating blocks"):
        server.start()

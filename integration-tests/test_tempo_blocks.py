"""Blocks that Grafana Tempo wrote: the sample blocks of the conformance data, read as they are, and as vParquet3."""
import shutil
import subprocess

import pytest

from harness import answers
from harness.paths import CONFORMANCE, example_binary
from harness.servers import Servers
from harness.waiting import eventually

WINDOW = {"start": 1_700_000_000 - 60, "end": 1_700_000_000 + 3600}
# Query, traces, matched spans; from the README beside the blocks.
QUERIES = [
    ("{}", 64, 252),
    ('{ name="GET /api" }', 1, 1),
    ("{ span.http.status_code = 500 }", 1, 1),
    ('{ resource.ip="10.0.0.1" }', 1, 3),
    ('{ span.customer="cust-1" }', 12, 48),
    ('{ span.strs = "b" }', 1, 1),
    ('{ event.exception.message="kaboom" }', 1, 1),
    ("{ span.n > 1 }", 60, 120),
    ("{ span.n < 1 }", 60, 60),
    ("{ span.int < 0 }", 1, 1),
    ("{ status = error }", 1, 1),
    ("{ nestedSetParent < 0 }", 63, 64),
    ("{ span.bools = false }", 1, 1),
    ("{ duration > 100ms }", 2, 3),
    ("{ span.double > 3.4 }", 1, 1),
    ('{ trace:id = "af7651916cd43dd8448eb211c80319c" }', 1, 4),
    ('{ span:id = "b7ad6b7169203331" }', 1, 1),
    ('{ instrumentation:name = "otel-go" }', 1, 3),
    ("{ kind = client }", 2, 2),
    ("{ traceDuration > 200ms }", 3, 11),
]


@pytest.fixture(scope="module", params=["vParquet3", "vParquet4", "vParquet5"])
def server(request, tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("blocks"))
    server = servers.new(config={"compactor": {"compaction": {"block_retention": "876000h"}}})
    put_sample_block(request.param, server.blocks)
    server.start()
    eventually(lambda: len(server.search("{}", **WINDOW)) == 64, "the block is known")
    yield server
    servers.close()


def put_sample_block(version, blocks):
    """A local store with the sample block of a version. There is none of vParquet3: the other is written as one."""
    if version == "vParquet3":
        (sample,) = (CONFORMANCE / "blocks" / "vParquet4").glob("*/*/meta.json")
        subprocess.run([example_binary("write_v3_block"), sample.parent, blocks], check=True, timeout=60)
        return
    shutil.copytree(CONFORMANCE / "blocks" / version, blocks)
    for path in [blocks, *blocks.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(("query", "traces", "spans"), QUERIES, ids=[q for q, _, _ in QUERIES])
def test_query_on_a_block_of_tempo(server, query, traces, spans):
    found = server.search(query, **WINDOW)
    assert (len(found), sum(found.values())) == (traces, spans)


@pytest.mark.parametrize(("trace_id", "names"), [
    ("463ac35c9f6413ad", ["root", "rpc", "rpc", "work"]),
    ("0af7651916cd43dd8448eb211c80319c", ["GET /api", "SELECT", "call-db", "child-1"]),
    ("5b8efff798038103d269b633813fc60c", ["orphan"]),
    ("ffffffffffffffffffffffffffffffff", ["d1-child", "root-1", "root-2"]),
    ("10000000000000770000000000000000", ["op-0", "op-0", "op-1", "op-2"]),
])
def test_trace_of_a_block_of_tempo(server, trace_id, names):
    assert sorted(span["name"] for _, span in server.trace(trace_id)) == names


def test_every_shape_of_value_comes_back(server):
    spans = dict(server.trace("0af7651916cd43dd8448eb211c80319c"))
    span = spans["b7ad6b7169203331"]
    for key, value in {
        "http.method": ("stringValue", "GET"), "http.status_code": ("intValue", "500"), "int": ("intValue", "-42"),
        "double": ("doubleValue", 3.5), "bool": ("boolValue", True), "emptystr": ("stringValue", ""),
        "region": ("stringValue", "us-east-1"), "customer": ("stringValue", "acme"),
        "strs": ("arrayValue", {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}),
        "ints": ("arrayValue", {"values": [{"intValue": "1"}, {"intValue": "2"}, {"intValue": "3"}]}),
        "mixed": ("arrayValue", {"values": [{"stringValue": "a"}, {"intValue": "1"}]}),
        "kv": ("kvlistValue", {"values": [{"key": "k", "value": {"stringValue": "v"}}]}),
    }.items():
        assert answers.attribute(span, key) == value, key
    assert span["status"] == {"message": "boom", "code": "STATUS_CODE_ERROR"}
    assert (span["traceState"], len(span["events"]), len(span["links"])) == ("a=b", 2, 1)
    assert answers.attribute(spans["00000000000000a2"], "http.status_code") == ("stringValue", "not-an-int")


def test_tags_and_values_of_a_block_of_tempo(server):
    tags = {s["name"]: s["tags"] for s in server.get("/api/v2/search/tags", **WINDOW).json()["scopes"]}
    assert {"cluster", "ip", "k8s.pod.name", "res.int", "service.name"} <= set(tags["resource"])
    assert {"customer", "http.method", "n", "region", "strs"} <= set(tags["span"])
    values = server.get("/api/v2/search/tag/span.customer/values", **WINDOW).json()["tagValues"]
    assert sorted(v["value"] for v in values) == ["acme", *(f"cust-{i}" for i in range(5))]

"""A trace that was cut when it came says so, in every API, wherever its spans lie."""
import json
import os
import time

import pytest
import requests

from harness import dialects, jaeger, otlp
from harness.waiting import eventually

CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 20_000}}},
    "compactor": {"compaction": {
        "compaction_cycle": "200ms", "compacted_block_retention": "1s", "max_time_per_tenant": "10s"}},
    "storage": {"trace": {"blocklist_poll": "500ms"}},
}
BEGINNING = "Trace exceeded its maximum size (max_bytes_per_trace) when it was received or merged: "


class Sent:
    """A trace of which most spans were refused, and one that is whole."""

    def __init__(self, server):
        # One clock: Jaeger's APIs would have something to say of any other.
        base = time.time_ns() - 10**9
        root = otlp.span(name="root", start=base)
        self.id = root.trace_id
        children = [
            otlp.span(self.id, name=f"child {number}", parent_span_id=root.span_id, start=base, attributes={"text": "x" * 200})
            for number in range(300)]
        self.rejected = 0
        for start in range(0, 300, 50):
            spans = children[start:start + 50]
            response = server.push(otlp.export(*([root] if start == 0 else []), *spans))
            self.rejected += otlp.ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans
        self.stored = 301 - self.rejected
        whole = otlp.trace(3)
        self.whole = whole[0].trace_id
        server.must_push(otlp.export(*whole))

    @property
    def message(self):
        return f"{BEGINNING}{self.rejected} spans or more were left out, a partial trace is returned"


def skeleton_header(server, trace_id):
    body = server.get(f"/ui/api/traces/{trace_id.hex()}/skeleton").content
    return json.loads(body[4:4 + int.from_bytes(body[:4], "little")])


def check_everywhere(server, sent):
    v2 = server.get(f"/api/v2/traces/{sent.id.hex()}")
    assert (v2.json()["status"], v2.json()["message"]) == ("PARTIAL", sent.message)
    v1 = server.get(f"/api/traces/{sent.id.hex()}")
    assert (v1.status_code, v1.headers["X-Tactus-Partial"]) == (200, "true")
    header = skeleton_header(server, sent.id)
    assert (header["partial"], header["message"], header["spans"]) == (True, sent.message, sent.stored)

    at = f"http://127.0.0.1:{server.ports.query_http}/api"
    (trace,) = requests.get(f"{at}/traces/{sent.id.hex()}", timeout=20).json()["data"]
    assert trace["warnings"] == [sent.message]
    found = requests.get(f"{at}/traces", params={"service": "shop", "lookback": "1h", "limit": 20}, timeout=20).json()["data"]
    warnings = {bytes.fromhex(one["traceID"].rjust(32, "0")): one["warnings"] for one in found}
    assert warnings == {sent.id: [sent.message], sent.whole: None}
    (batches,) = [requests.get(f"{at}/v3/traces/{sent.id.hex()}", timeout=20).json()["result"]["resourceSpans"]]
    spans = [span for batch in batches for scope in batch["scopeSpans"] for span in scope["spans"]]
    said = {span["name"]: [a for a in span["attributes"] if a["key"] == "@jaeger@warnings"] for span in spans}
    assert [name for name, warnings in said.items() if warnings] == ["root"] and sent.message in str(said["root"])

    with jaeger.channel(server.ports.query_grpc) as channel:
        call = jaeger.query_v2_grpc.QueryServiceStub(channel).GetTrace(jaeger.query_v2.GetTraceRequest(trace_id=sent.id))
        spans = [span for chunk in call for span in chunk.spans]
        assert dict(call.trailing_metadata())["x-tactus-partial"] == "true"
    assert [(s.operation_name, list(s.warnings)) for s in spans if s.warnings] == [(b"root", [sent.message.encode()])]

    answer = requests.get(f"http://127.0.0.1:{server.ports.zipkin}/api/v2/trace/{sent.id.hex()}", timeout=20)
    assert answer.headers["X-Tactus-Partial"] == "true"
    tagged = {span["name"]: span["tags"]["tactus.warning"] for span in answer.json() if "tactus.warning" in span.get("tags", {})}
    assert tagged == {"root": sent.message}

    whole = server.get(f"/api/v2/traces/{sent.whole.hex()}").json()
    assert "status" not in whole and "message" not in whole


def metas(server):
    return [json.loads((block / "meta.json").read_text()) for block in server.block_directories()]


def test_cut_trace_says_so_live_after_a_kill_in_a_block_and_in_a_merged_one(servers):
    server = dialects.start(servers, extra={**CONFIG, "compactor": {"disabled": True}})
    sent = Sent(server)
    assert 200 < sent.rejected < 300
    check_everywhere(server, sent)
    discarded = server.metric('tempo_discarded_spans_total{reason="trace_too_large",tenant="single-tenant"}')
    assert discarded == sent.rejected

    server.kill()
    server.start()
    again = eventually(lambda: server.get(f"/api/v2/traces/{sent.id.hex()}").json().get("message"), "replayed")
    # Of pushes that stored nothing the log has the first alone.
    assert again.startswith(BEGINNING) and again.endswith(" a partial trace is returned")
    sent.rejected = int(again.removeprefix(BEGINNING).split()[0])
    check_everywhere(server, sent)

    server.flush()
    (meta,) = eventually(lambda: metas(server), "a block")
    assert meta["tactus"]["cutTraces"] == {sent.id.hex(): sent.rejected}
    check_everywhere(server, sent)

    server.must_push(otlp.export(*otlp.trace(3), service="other"))
    server.flush()
    server.stop()
    server.config = {**server.config, "compactor": CONFIG["compactor"]}
    server.start()
    (meta,) = eventually(lambda: [m for m in metas(server) if m["compactionLevel"] > 0] or None, "the blocks are merged", timeout=60)
    assert meta["tactus"]["cutTraces"] == {sent.id.hex(): sent.rejected}
    eventually(lambda: len(metas(server)) == 1, "its sources are gone", timeout=60)
    check_everywhere(server, sent)


SHAPES = {
    "tiny": {},
    "events": {"events": [{"name": "e"}] * 10},
    "numbers": {"attributes": {f"k{number}": number for number in range(20)}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_merge_cuts_nothing_that_was_accepted(servers, shape):
    """A trace just within the limit, in two blocks that are merged."""
    limit = CONFIG["overrides"]["defaults"]["global"]["max_bytes_per_trace"]
    trace_id, half, spans = bytes(range(16)), [], 0
    server = servers.start(config=CONFIG)
    base = time.time_ns() - 10**9

    def made():
        return otlp.span(trace_id, name="s", start=base, **SHAPES[shape])

    size = made().ByteSize()
    for _ in range(2):
        half = [made() for _ in range((limit - 200) // 2 // size)]
        server.must_push(otlp.export(*half))
        server.flush()
        spans += len(half)
    eventually(lambda: len(server.block_directories()) == 1, "one block", 60)
    eventually(lambda: server.metrics().get("tempodb_blocklist_length{tenant=\"single-tenant\"}") == 1, "it is known", 30)
    (trace,) = server.get("/api/search", q=f'{{ trace:id = "{trace_id.hex()}" }}').json()["traces"]
    assert trace["spanSets"][0]["matched"] == spans


def test_trace_that_grows_in_small_parts_is_cut_all_the_same(servers):
    """Each cut sees less of it than is always remembered."""
    limit = 200_000
    server = servers.start(config={"overrides": {"defaults": {"global": {"max_bytes_per_trace": limit}}}})
    trace_id, stored, rejected = os.urandom(16), 0, 0
    while stored < 5 * limit and rejected == 0:
        spans = [otlp.span(trace_id, attributes={"text": os.urandom(400).hex()}) for _ in range(20)]
        request = otlp.export(*spans)
        response = server.push(request)
        rejected = otlp.ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans
        stored += request.ByteSize()
        server.flush()
    assert rejected > 0 and limit // 2 < stored < 3 * limit, (rejected, stored)


def test_trace_of_which_nothing_was_taken_is_not_found(servers):
    server = servers.start(config=CONFIG)
    root = otlp.span(name="root", attributes={"text": "x" * 30_000})
    server.push(otlp.export(root))
    assert server.get(f"/api/traces/{root.trace_id.hex()}").status_code == 404
    assert "status" not in server.get(f"/api/v2/traces/{root.trace_id.hex()}").json()

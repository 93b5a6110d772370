"""Tail sampling: whole traces are kept or dropped by policies, and what was acknowledged and is wanted is never lost."""
import concurrent.futures
import os
import random
import time

import pytest
import requests

from harness import otlp
from harness.cluster import Cluster
from harness.server import merge
from harness.waiting import eventually
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

ERROR = Status(code=Status.STATUS_CODE_ERROR)
POLICIES = [
    {"name": "errors", "type": "traceql", "traceql": {"query": "{ status = error }"}},
    {"name": "slow", "type": "traceql", "traceql": {"query": "{ duration > 1s }"}},
    {"name": "checkout", "type": "traceql", "traceql": {"query": '{ resource.service.name = "checkout" }'}},
    {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 5}},
]
FAST = {"ingester": {"trace_idle_period": "200ms", "trace_live_period": "500ms", "flush_check_period": "100ms"}}


def policies(*chosen, wait="1s", **more):
    return merge(FAST, {"tail_sampling": {"decision_wait": wait, "policies": list(chosen) or POLICIES, **more}})


def is_in_share(trace_id, percentage, salt=b"default-hash-seed"):
    """The collector's rule: FNV-1a of salt and id."""
    value = 0xCBF29CE484222325
    for byte in salt + trace_id:
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value <= int(percentage / 100 * (2**64 - 1))


def test_the_share_is_that_of_the_document():
    for trace_id, kept in (("00000000000000010000000000000002", False), ("0af7651916cd43dd8448eb211c80319c", True)):
        assert is_in_share(bytes.fromhex(trace_id), 25) == kept


def counted(server, query="{ }"):
    now = int(time.time())
    answer = server.get("/api/metrics/query", q=f"{query} | count_over_time()", start=now - 3600, end=now + 60)
    assert answer.status_code == 200, answer.text
    return sum(float(series.get("value", 0)) for series in answer.json()["series"])


def test_all_errors_and_the_stated_share_of_100_000_traces(servers):
    server = servers.start(config=policies(wait="3s"))
    random.seed(5)
    kept = dropped = errors = 0
    requests_, sample = [], []
    for _ in range(100):
        failed, fine = [], []
        for _ in range(1000):
            trace_id = random.randbytes(16)
            if random.random() < 0.01:
                failed.append(otlp.span(trace_id, status=ERROR))
                errors += 1
            else:
                fine.append(otlp.span(trace_id))
                wanted = is_in_share(trace_id, 5)
                kept += wanted
                dropped += not wanted
                if len(sample) < 200:
                    sample.append((trace_id.hex(), wanted))
        requests_.append(otlp.export(*failed, *fine, service="api"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(server.must_push, requests_))
    eventually(lambda: counted(server) == errors + kept, f"{errors} with errors and {kept} others are left", timeout=120)
    assert counted(server, "{ status = error }") == errors
    assert 0.045 < kept / (kept + dropped) < 0.055
    for trace_id, wanted in sample:
        assert bool(server.trace(trace_id)) == wanted, trace_id

    def discarded():
        samples = server.metrics().items()
        return sum(v for k, v in samples if k.startswith("tempo_discarded_spans_total") and 'reason="tail_sampling"' in k)

    eventually(lambda: discarded() == dropped, f"{dropped} spans are counted as discarded")
    assert server.metric("tactus_tail_sampling_count_traces_sampled") > 0
    # The same once it is in blocks, and after a restart.
    server.flush()
    assert counted(server) == errors + kept
    server.restart()
    assert counted(server) == errors + kept


def test_a_trace_is_kept_whole_for_what_comes_late_and_from_elsewhere(servers):
    server = servers.start(config=policies(*POLICIES[:3], wait="5s"))
    spans = otlp.trace(4)
    spans[3].status.CopyFrom(ERROR)
    boring = otlp.trace(3)
    # Three requests of three services; only the last has the reason to keep the trace.
    server.must_push(otlp.export(spans[0], boring[0], service="front"))
    server.must_push(otlp.export(*spans[1:3], boring[1], service="middle"))
    wanted, unwanted = spans[0].trace_id.hex(), boring[0].trace_id.hex()
    assert server.trace(unwanted), "undecided traces are shown"
    # The last one comes when the others are on disk already.
    eventually(server.segments, "a pending segment")
    server.must_push(otlp.export(spans[3], service="back"))
    eventually(lambda: server.trace(unwanted) is None, "what nobody wants goes")
    assert len(server.trace(wanted)) == 4
    # Later than the decision: it follows it.
    late = otlp.span(spans[0].trace_id, parent_span_id=spans[0].span_id, name="late")
    server.must_push(otlp.export(late, boring[2], service="front"))
    eventually(lambda: server.trace(unwanted) is None, "late spans of a dropped trace go as well")
    server.flush()
    assert len(server.trace(wanted)) == 5


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.8, 1.5, 2.5])
def test_a_kill_at_any_moment_loses_nothing_that_is_wanted(servers, moment):
    server = servers.start(config=policies(POLICIES[0]))
    wanted, unwanted = [], []
    for i in range(20):
        spans = otlp.trace(3)
        if i % 2:
            spans[2].status.CopyFrom(ERROR)
        server.must_push(otlp.export(*spans))
        (wanted if i % 2 else unwanted).append(spans[0].trace_id.hex())
    time.sleep(moment)
    server.kill()
    server.start()
    for trace_id in wanted:
        assert len(server.trace(trace_id)) == 3
    eventually(lambda: not any(server.trace(trace_id) for trace_id in unwanted), "the others go")
    server.flush()
    server.restart()
    assert all(len(server.trace(trace_id)) == 3 for trace_id in wanted)


def test_policies_of_every_kind(servers):
    """Each policy by itself decides about the same four traces."""
    def four():
        plain = otlp.trace(2, attributes={"n": 1, "vip": False, "tier": "free"})
        failed = otlp.trace(2, status=ERROR, attributes={"n": 5, "vip": True, "tier": "gold"})
        slow = otlp.trace(1, duration=3 * 10**9, attributes={"n": 9})
        wide = otlp.trace(6, trace_state="vendor=x")
        return {"plain": plain, "failed": failed, "slow": slow, "wide": wide}

    def sub(*kinds):
        return [{"name": f"s{i}", **kind} for i, kind in enumerate(kinds)]

    status = {"type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
    always = {"type": "always_sample"}
    for policy, expected in [
        ([always], {"plain", "failed", "slow", "wide"}),
        ([{"type": "latency", "latency": {"threshold_ms": 2000}}], {"slow"}),
        ([{"type": "numeric_attribute", "numeric_attribute": {"key": "n", "min_value": 5, "max_value": 8}}], {"failed"}),
        ([{"type": "string_attribute", "string_attribute": {"key": "tier", "values": ["go.d"], "enabled_regex_matching": True}}], {"failed"}),
        ([{"type": "boolean_attribute", "boolean_attribute": {"key": "vip", "value": True}}], {"failed"}),
        ([status], {"failed"}),
        ([{"type": "span_count", "span_count": {"min_spans": 3}}], {"wide"}),
        ([{"type": "trace_state", "trace_state": {"key": "vendor", "values": ["x"]}}], {"wide"}),
        ([{"type": "and", "and": {"and_sub_policy": sub(status, {"type": "latency", "latency": {"threshold_ms": 2000}})}}], set()),
        ([{"type": "not", "not": {"not_sub_policy": {"name": "s", **status}}}], {"plain", "slow", "wide"}),
        ([always, {"type": "drop", "drop": {"drop_sub_policy": sub(status)}}], {"plain", "slow", "wide"}),
        ([{"type": "traceql", "traceql": {"query": "{ } | count() > 4"}}, status], {"wide", "failed"}),
        ([{"type": "traceql", "traceql": {"query": "{ traceDuration > 2s }"}}], {"slow"}),
    ]:
        named = [{"name": f"p{i}", **one} for i, one in enumerate(policy)]
        server = servers.start(f"policies-{len(servers.started)}", config=policies(*named, wait="300ms"))
        traces = four()
        server.must_push(otlp.export(*(span for spans in traces.values() for span in spans)))
        ids = {name: spans[0].trace_id.hex() for name, spans in traces.items()}

        def left():
            return {name for name, trace_id in ids.items() if server.trace(trace_id)}

        eventually(lambda: left() == expected, f"{policy} keeps {expected}", timeout=15)
        server.close()


def test_tenants_have_their_own_and_change_them_while_it_runs(servers, tmp_path):
    import yaml

    path = tmp_path / "overrides.yaml"

    def write(**tenants):
        path.write_text(yaml.safe_dump({"overrides": {
            name: {"tail_sampling": {"decision_wait": "500ms", "policies": chosen}} for name, chosen in tenants.items()}}))

    write(picky=[POLICIES[0]])
    server = servers.start(config=merge(FAST, {
        "multitenancy_enabled": True,
        "overrides": {"per_tenant_override_config": str(path), "per_tenant_override_period": "100ms"},
    }))

    def push(tenant):
        spans = otlp.trace(2)
        assert server.push(otlp.export(*spans), headers={"X-Scope-OrgID": tenant}).status_code == 200
        return spans[0].trace_id.hex()

    def there(tenant, trace_id):
        return server.get(f"/api/traces/{trace_id}", headers={"X-Scope-OrgID": tenant}).status_code == 200

    dropped, kept = push("picky"), push("generous")
    eventually(lambda: not there("picky", dropped), "its policies drop it")
    assert there("generous", kept)
    write(picky=[{"name": "all", "type": "always_sample"}])

    def follows():
        push("picky")
        return server.metric('tactus_tail_sampling_count_traces_sampled{tenant="picky",policy="all",sampled="true"}')

    eventually(follows, "the new policies are followed", interval=0.2)
    kept_now = push("picky")
    server.flush()
    assert there("picky", kept_now)


def test_cluster_counts_what_any_ingester_kept(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    config = merge(FAST, {"ingester": {"max_block_duration": "10m", "complete_block_timeout": "10m"}})
    with Cluster(tmp_path, bucket, counts, config=config) as cluster:
        for node in cluster.of("ingester"):
            # Each keeps another half, as rates do that each ingester measures by itself.
            half = {"name": "half", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50, "hash_salt": node.name}}
            node.config = merge(node.config or {}, {"tail_sampling": {"decision_wait": "2s", "policies": [half]}})
        cluster.start()
        (distributor,), (frontend,) = cluster.of("distributor"), cluster.of("query-frontend")
        traces = [otlp.trace(3) for _ in range(200)]
        for first in range(0, 200, 20):
            distributor.must_push(otlp.export(*(span for trace in traces[first:first + 20] for span in trace)))
        kept = {
            trace[0].trace_id.hex() for trace in traces
            if any(is_in_share(trace[0].trace_id, 50, node.name.encode()) for node in cluster.of("ingester"))}
        assert 150 < len(kept) < 195
        window = {"start": int(time.time()) - 600, "end": int(time.time()) + 600}

        def found():
            return set(frontend.search("{}", limit=1000, **window))

        eventually(lambda: found() == kept, "all have decided", timeout=60)
        whole = "{ } | count() > 0"
        for node in [None, *cluster.of("ingester")]:
            if node:
                node.flush()
            for query in ("{ }", whole):
                assert counted(frontend, query) == 3 * len(kept), (query, node and node.name)
        eventually(lambda: frontend.get("/api/search", q="{}", **window).json()["metrics"].get("totalBlocks") == 3, "three blocks")
        assert counted(frontend) == counted(frontend, whole) == 3 * len(kept)


def test_wrong_policies_end_the_start_by_name(servers):
    for policy, text in [
        ({"name": "", "type": "always_sample"}, "policy name cannot be empty"),
        ({"name": "odd", "type": "sometimes"}, "odd"),
        ({"name": "broken", "type": "traceql", "traceql": {"query": "{ status = "}}, "broken"),
        ({"name": "rate", "type": "traceql", "traceql": {"query": "{ } | rate()"}}, "rate"),
    ]:
        server = servers.new("refused", config=policies(policy)).spawn()
        assert server.process.wait(30) != 0, policy
        assert text in server.logs()


def test_a_dry_run_tells_what_would_be_kept(servers):
    server = servers.start(config=FAST)
    for i in range(50):
        spans = otlp.trace(2, **({"status": ERROR} if i % 5 == 0 else {}))
        server.must_push(otlp.export(*spans))
    now = int(time.time())
    answer = requests.post(
        f"{server.url}/api/tail-sampling/dry-run", params={"start": now - 600, "end": now + 60, "limit": 1000},
        json={"policies": POLICIES[:1]}, timeout=60)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["seen"]["traces"], report["kept"]["traces"], report["kept"]["share"]["traces"]) == (50, 10, 0.2)
    (errors,) = report["policies"]
    assert (errors["name"], errors["traces"], errors["spans"]) == ("errors", 10, 20)
    assert len(server.search("{ }")) == 50, "nothing was dropped"
    wrong = requests.post(f"{server.url}/api/tail-sampling/dry-run", json={"policies": [{"name": "x", "type": "y"}]}, timeout=30)
    assert wrong.status_code == 400 and "x" in wrong.text


def test_a_dry_run_judges_more_than_fits_into_memory_at_a_time(servers):
    server = servers.start(config={"server": {"max_inflight_bytes": 128 << 20}})
    for _ in range(40):
        attributes = [{f"a{number}": os.urandom(1000).hex() for number in range(64)} for _ in range(14)]
        trace_id = os.urandom(16)
        server.must_push(otlp.export(*(otlp.span(trace_id, attributes=each) for each in attributes)))
    server.flush()
    answer = requests.post(
        f"{server.url}/api/tail-sampling/dry-run", params={"since": "1h", "limit": 100},
        json={"policies": [{"name": "all", "type": "always_sample"}]}, timeout=120)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["seen"]["traces"], report["kept"]["traces"], report["partial"]) == (40, 40, False)


def test_a_tenant_with_costly_policies_delays_no_other(servers, tmp_path):
    import yaml

    costly = [{"name": f"p{number}", "type": "traceql", "traceql": {
        "query": '{ span.text =~ ".*(a[^b]{1,20}c|q[^r]{2,30}s)+.*%dZ" }' % number}} for number in range(12)]
    path = tmp_path / "overrides.yaml"
    path.write_text(yaml.safe_dump({"overrides": {
        name: {"tail_sampling": {"decision_wait": "1s", "policies": chosen}}
        for name, chosen in (("costly", costly), ("cheap", [POLICIES[0]]))}}))
    server = servers.start(config=merge(FAST, {
        "multitenancy_enabled": True, "overrides": {"per_tenant_override_config": str(path)}}))

    def push(tenant, *spans):
        response = server.push(otlp.export(*spans), headers={"X-Scope-OrgID": tenant})
        assert response.status_code == 200, response.text

    def seconds_until_decided():
        span, began = otlp.span(), time.monotonic()
        push("cheap", span)
        address = f"/api/traces/{span.trace_id.hex()}"
        eventually(lambda: server.get(address, headers={"X-Scope-OrgID": "cheap"}).status_code == 404, "it is dropped")
        return time.monotonic() - began

    alone = seconds_until_decided()
    for _ in range(4):
        texts = ["".join(random.choices("abcdefqrs0123 ", k=1900)) for _ in range(500)]
        push("costly", *(otlp.span(attributes={"text": text}) for text in texts))
    # Its traces are being decided now.
    time.sleep(2.2)
    beside = seconds_until_decided()
    assert beside < alone + 4, (alone, beside)


def test_off_it_leaves_no_trace(servers):
    server = servers.start(config=FAST)
    server.must_push(otlp.export(*otlp.trace(2)))
    eventually(server.segments, "a segment")
    assert not [name for name in server.metrics() if name.startswith("tactus_tail_sampling") and server.metrics()[name] > 0]
    assert {path.suffix for path in (server.wal / "segments").glob("*/*") if path.is_file()} == {".seg"}

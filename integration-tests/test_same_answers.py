"""The same spans live, in a block and in a merged block: every API says the same of them."""
import json
import os
import time

import pytest
import requests

from harness import dialects, jaeger, otlp
from harness.answers import resources
from harness.cluster import Cluster
from harness.server import merge
from harness.servers import Servers
from harness.waiting import eventually
from test_compaction import COMPACT, REST, metas
from test_hostile_input import field

DEEPEST = 30  # lists within one another


def in_all_places(server, trace_id):
    """Names a place, with the server such that the spans pushed before are there: live, in a block, in a merged block."""
    yield "live"
    server.flush()
    assert server.block_directories()
    yield "block"
    # Another block with a span of the same trace, so that the trace itself is merged.
    server.must_push(otlp.export(otlp.span(trace_id, parent_span_id=b"\x77" * 8, name="more"), service="other"))
    server.flush()
    server.stop()
    server.config = merge(server.config, merge({"compactor": {"disabled": False}}, COMPACT))
    server.start()
    eventually(lambda: [meta["compactionLevel"] for meta in metas(server)] == [1], "one block")
    yield "merged"


def count(server, query):
    now = int(time.time())
    response = server.get("/api/metrics/query", q=query, start=now - 3600, end=now + 60)
    assert response.status_code == 200, response.text
    return {
        tuple(sorted((label["key"], next(iter(label["value"].values()))) for label in series["labels"])): float(series["value"])
        for series in response.json()["series"]
    }


def total(server, query):
    return sum(count(server, query + " | count_over_time()").values())


def test_spans_that_differ_in_their_name_only_are_two_everywhere(servers):
    server = servers.start(config=REST)
    start = time.time_ns() - 10**9
    one = otlp.span(name="one", start=start)
    same = {"trace_id": one.trace_id, "span_id": one.span_id, "start": start}
    request = otlp.export(one, otlp.span(name="two", **same))
    # Sent twice, and once more in a block of its own: still two spans.
    server.must_push(request)
    server.must_push(request)
    trace_id = one.trace_id.hex()
    for place in in_all_places(server, one.trace_id):
        query = '{ resource.service.name = "shop" }'
        assert total(server, query) == 2, place
        assert server.search(query) == {trace_id: 2}, place
        names = [span["name"] for _, span in server.trace(trace_id) if span["name"] != "more"]
        assert sorted(names) == ["one", "two"], place
        if place == "block":
            server.must_push(request)
            server.flush()
            assert total(server, query) == 2, "two blocks"
            assert server.search(query) == {trace_id: 2}, "two blocks"


def test_relations_of_two_spans_with_one_id_and_kind_are_the_same_everywhere(servers):
    server = servers.start(config=REST)
    start, trace_id = time.time_ns() - 10**10, os.urandom(16)

    def span(number, parent, name, kind, at):
        return otlp.span(
            trace_id, span_id=bytes(7) + bytes([number]), parent_span_id=bytes(7) + bytes([parent]) if parent else b"", name=name, kind=kind,
            start=start + at * 10**6, attributes={"who": name})

    # The second one starts first but arrives later: live it is in another order than in a block.
    server.must_push(otlp.export(span(1, 0, "root", 2, 1), span(2, 1, "child", 3, 2), span(3, 2, "below", 1, 3), span(1, 1, "again", 2, 0)))
    shop = 'resource.service.name = "shop"'
    queries = [
        f"{{ {shop} }} >> {{ }}", f"{{ {shop} }} << {{ }}", f"{{ {shop} && nestedSetParent = 0 }}", f"{{ {shop} && span:childCount > 0 }}",
        f'{{ {shop} && parent.who = "root" }}', f'{{ {shop} && parent.who = "again" }}']
    hexed, answers = trace_id.hex(), {}
    for place in in_all_places(server, trace_id):
        answers[place] = {query: server.search(query).get(hexed, 0) for query in queries}
    assert answers["live"] == answers["block"] == answers["merged"]
    assert list(answers["live"].values()) == [0, 0, 3, 1, 0, 0]


def test_spans_that_are_sent_again_count_once_wherever_their_copies_are(servers):
    server = servers.start(config=merge(REST, {"ingester": {"complete_block_timeout": "0s"}}))
    requests_sent = [otlp.export(*otlp.trace(3)) for _ in range(40)]
    for request in requests_sent:
        server.must_push(request)

    def check(where):
        assert total(server, "{}") == 120, where
        assert total(server, '{ name = "root" } > { name = "child-1" }') == 40, where
        by_name = count(server, "{} | count_over_time() by (name)")
        assert sorted(by_name.values()) == [40, 40, 40], where

    check("live")
    server.flush()
    eventually(lambda: total(server, "{}") == 120, "the block alone")
    for request in requests_sent[:25]:
        server.must_push(request)
    check("in a block, and some live again")
    server.restart()
    check("started again")
    for request in requests_sent[10:]:
        server.must_push(request)
    check("in blocks and live")
    server.flush()
    check("in blocks")
    for request in requests_sent:
        server.must_push(request)
    fresh = otlp.export(*otlp.trace(3))
    server.must_push(fresh)
    assert total(server, "{}") == 123


def test_replicated_spans_that_are_sent_again_count_once(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    held = {"ingester": {"complete_block_timeout": "1s", "max_block_duration": "10m"}}
    with Cluster(tmp_path, bucket, counts, config=held) as cluster:
        cluster.start()
        distributor, frontend = cluster["distributor-0"], cluster["query-frontend-0"]
        sent = [otlp.export(*otlp.trace(3)) for _ in range(30)]
        for request in sent:
            distributor.must_push(request)
        eventually(lambda: total(frontend, "{}") == 90, "all are counted")
        cluster.flush()
        for _ in range(2):  # the second time the ingesters have let go of what they flushed
            for request in sent[5:]:
                distributor.must_push(request)
            for _ in range(10):
                assert total(frontend, "{}") == 90
                assert total(frontend, '{ name = "root" } > { name = "child-1" }') == 30
                time.sleep(0.3)
        cluster.flush()
        assert total(frontend, "{}") == 90


def test_spans_that_are_sent_again_while_an_ingester_is_down_count_once(tmp_path, bucket):
    """It has one of two copies, and may be the one that counts it."""
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    held = {
        "multitenancy_enabled": True,
        "ingester": {"complete_block_timeout": "10m", "max_block_duration": "10m", "trace_idle_period": "10m", "trace_live_period": "10m"},
    }
    # Which ingester counts differs from tenant to tenant.
    tenants = [{"X-Scope-OrgID": f"t{number}"} for number in range(8)]
    with Cluster(tmp_path, bucket, counts, config=held) as cluster:
        cluster.start()
        distributor, frontend, missing = cluster["distributor-0"], cluster["query-frontend-0"], cluster["ingester-1"]
        sent = [(tenant, otlp.export(*otlp.trace(3))) for tenant in tenants for _ in range(4)]

        def push_all():
            for tenant, request in sent:
                assert distributor.push(request, headers=tenant).status_code == 200

        def totals():
            now = int(time.time())
            window = {"q": "{ } | count_over_time()", "start": now - 600, "end": now + 60}
            answers = [frontend.get("/api/metrics/query", headers=tenant, **window).json() for tenant in tenants]
            return [sum(series["value"] for series in answer["series"]) for answer in answers]

        push_all()
        eventually(lambda: totals() == [12] * 8, "all are counted")
        missing.kill()
        push_all()
        missing.start()
        eventually(lambda: frontend.get("/api/search", q="{ }", headers=tenants[0]).headers.get("X-Tactus-Partial") is None, "it is back", 60)
        for _ in range(5):
            assert totals() == [12] * 8


def test_empty_service_name_stays_empty_and_is_not_missing(servers):
    server = servers.start(config=REST)
    trace_id = otlp.trace(1)[0].trace_id
    server.must_push(otlp.export(otlp.span(trace_id, name="empty"), service="", resource={"x": "1"}))
    missing = otlp.export(otlp.span(trace_id, name="missing"))
    del missing.resource_spans[0].resource.attributes[:]
    server.must_push(missing)
    found = trace_id.hex()

    def values(tag):
        return [value.get("value", "") for value in server.get(f"/api/v2/search/tag/{tag}/values").json()["tagValues"]]

    for place in in_all_places(server, trace_id):
        assert server.search('{ resource.service.name = "" }') == {found: 1}, place
        assert server.search('{ resource.service.name = "" && name = "empty" }') == {found: 1}, place
        assert server.search('{ resource.service.name =~ "" && name != "more" }') == {found: 1}, place
        shown = server.get(f"/api/v2/traces/{found}").json()["trace"]
        groups = [one for one in resources(shown) if one.get("service.name") != "other"]
        assert sorted(groups, key=len) == [{}, {"service.name": "", "x": "1"}], place
        tags = server.get("/api/v2/search/tags", scope="resource", q='{ name = "empty" }').json()["scopes"]
        assert sorted(tags[0]["tags"]) == ["service.name", "x"], (place, tags)
        assert set(values("resource.service.name")) - {"other"} == {""}, place
        series = count(server, '{ name != "more" } | count_over_time() by (resource.service.name)')
        assert series == {(("resource.service.name", ""),): 1, (("resource.service.name", "nil"),): 1}, place


def test_kinds_and_states_that_otlp_does_not_know_are_kept_and_queried_as_none(servers):
    server = servers.start(config=REST)
    unknown = otlp.span(name="unknown", kind=9, status={"code": 7})
    none = otlp.span(unknown.trace_id, name="none", kind=0)
    server.must_push(otlp.export(unknown, none))
    found = unknown.trace_id.hex()
    for place in in_all_places(server, unknown.trace_id):
        shown = {span["name"]: span for _, span in server.trace(found)}
        assert (shown["unknown"]["kind"], shown["unknown"]["status"]) == (9, {"code": 7}), place
        assert "kind" not in shown["none"], place
        spans = '{ name = "unknown" || name = "none" }'
        assert server.search('{ kind = unspecified && name = "unknown" }') == {found: 1}, place
        assert server.search('{ status = unset && name = "unknown" }') == {found: 1}, place
        series = count(server, spans + " | count_over_time() by (kind, status)")
        assert series == {(("kind", "unspecified"), ("status", "unset")): 2}, place


def test_of_several_values_of_a_key_the_first_counts_everywhere_and_none_is_lost(servers):
    server = servers.start(config=REST)
    span = otlp.span(name="repeated", attributes={"http.url": "first", "http.method": "first", "http.status_code": 1})
    span.attributes.extend(otlp.key_values({"http.url": "second", "http.method": 2, "http.status_code": "second"}))
    request = otlp.export(span, resource={"cluster": "first", "namespace": "first"})
    attributes = request.resource_spans[0].resource.attributes
    attributes.extend(otlp.key_values({"service.name": "second", "cluster": "second", "namespace": 2.5}))
    server.must_push(request)
    found = {span.trace_id.hex(): 1}
    for place in in_all_places(server, span.trace_id):
        for condition in (
            'span.http.url = "first"', 'span.http.method = "first"', "span.http.status_code = 1", 'resource.service.name = "shop"',
            'resource.cluster = "first"', 'resource.namespace = "first"', 'rootServiceName = "shop"',
        ):
            assert server.search(f'{{ {condition} && name = "repeated" }}') == found, (place, condition)
            key, _, value = condition.partition(" = ")
            assert server.search(f'{{ {key} != {value} && name = "repeated" }}') == {}, (place, condition)
        (shown,) = [one for _, one in server.trace(span.trace_id.hex()) if one["name"] == "repeated"]
        assert sorted(one["key"] for one in shown["attributes"]) == sorted(2 * ["http.url", "http.method", "http.status_code"]), place


def test_tags_of_a_search_are_those_of_one_resource_everywhere(servers):
    server = servers.start(config=REST)
    trace_id = otlp.trace(1)[0].trace_id
    server.must_push(otlp.export(
        otlp.span(trace_id, attributes={"one": "x"}), otlp.span(trace_id, attributes={"two": "y"}), service="a"))
    server.must_push(otlp.export(otlp.span(trace_id, attributes={"three": "z"}), service="b"))
    now = int(time.time())
    for place in in_all_places(server, trace_id):
        for tags, found in (("one=x two=y", 1), ("one=x three=z", 0), ("three=z", 1)):
            answer = server.get("/api/search", tags=tags, start=now - 3600, end=now + 60)
            assert len(answer.json()["traces"]) == found, (place, tags)


def test_tags_of_attributes_with_a_column_of_their_own_match_a_part_everywhere(servers):
    server = servers.start(config=REST)
    trace_id = otlp.trace(1)[0].trace_id
    attributes = {"http.route": "/orders/{id}", "mine": "/orders/{id}"}
    server.must_push(otlp.export(otlp.span(trace_id, attributes=attributes), service="shop"))
    now = int(time.time())
    for place in in_all_places(server, trace_id):
        for tags, found in (("http.route=orders", 1), ("http.route=Orders", 0), ("mine=orders", 0), ("mine=/orders/{id}", 1), ("service.name=sho", 1)):
            answer = server.get("/api/search", tags=tags, start=now - 3600, end=now + 60)
            assert len(answer.json()["traces"]) == found, (place, tags)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_one_of_several_roots_at_the_same_time_names_the_trace(servers, turn):
    server = servers.start(config=REST)
    start, trace_id = time.time_ns() - 10**9, otlp.trace(1)[0].trace_id
    services = ["a", "b", "c"]
    for number in [*range(turn, 3), *range(turn)]:
        root = otlp.span(trace_id, bytes([7 + (number * 2) % 3]) * 8, name=f"root {number}", start=start)
        server.must_push(otlp.export(root, service=services[number]))
    answers = {}
    for place in in_all_places(server, trace_id):
        now = int(time.time())
        (trace,) = server.get("/api/search", q="{}", start=now - 3600, end=now + 60).json()["traces"]
        answers[place] = (trace["rootServiceName"], trace["rootTraceName"])
        assert server.search('{ rootName = "root 1" && rootServiceName = "b" && name != "more" }') == {trace_id.hex(): 3}, place
    assert set(answers.values()) == {("b", "root 1")}, answers


# --- nested attributes -----------------------------------------------------------------------------------------------


def nested(levels, kind):
    """An encoded AnyValue of so many lists within one another."""
    value = field(1, b"bottom")
    for _ in range(levels):
        value = field(5, field(1, value)) if kind == "array" else field(6, field(1, field(1, b"k") + field(2, value)))
    return value


def nested_json(levels, kind):
    value = {"stringValue": "bottom"}
    for _ in range(levels):
        if kind == "array":
            value = {"arrayValue": {"values": [value]}}
        else:
            value = {"kvlistValue": {"values": [{"key": "k", "value": value}]}}
    return value


def bottom(value):
    """The number of lists in a JSON value, and what is innermost."""
    levels = 0
    while kind := next((kind for kind in ("arrayValue", "kvlistValue") if kind in value), None):
        (value,) = value[kind]["values"]
        value, levels = value.get("value", value), levels + 1
    return levels, value


def with_attribute(encoded, where):
    """A request with the attribute `deep` on a span, an event, the resource or the scope, and the span."""
    pair = field(1, b"deep") + field(2, encoded)
    span = otlp.span()
    raw = span.SerializeToString()
    raw += {"span": field(9, pair), "event": field(11, field(2, b"e") + field(3, pair))}.get(where, b"")
    resource = field(1, field(1, b"service.name") + field(2, field(1, b"deep"))) + (field(1, pair) if where == "resource" else b"")
    scope = field(1, b"lib") + (field(3, pair) if where == "scope" else b"")
    return field(1, field(1, resource) + field(2, field(1, scope) + field(2, raw))), span


@pytest.fixture(scope="module")
def all_ports(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("nested"))
    yield dialects.start(group)
    group.close()


def answers_of(server, span, where="span"):
    """What every API says about the trace of a span; each has to answer."""
    # Jaeger and Zipkin know no attributes of scopes.
    shown = "deep" if where == "scope" else "bottom"
    trace_id, ports = span.trace_id.hex(), server.ports
    v1 = server.get(f"/api/traces/{trace_id}").json()
    v2 = server.get(f"/api/v2/traces/{trace_id}").json()["trace"]
    for path in (f"/api/traces/{trace_id}", f"/api/v2/traces/{trace_id}"):
        answer = server.get(path, accept="application/protobuf")
        assert answer.status_code == 200 and span.span_id in answer.content
    urls = [
        f"http://127.0.0.1:{ports.query_http}/api/traces/{trace_id}",
        f"http://127.0.0.1:{ports.query_http}/api/v3/traces/{trace_id}",
        f"http://127.0.0.1:{ports.zipkin}/api/v2/trace/{trace_id}",
    ]
    for url in urls:
        answer = requests.get(url, timeout=20)
        assert answer.status_code == 200 and shown in answer.text, (url, answer.status_code, answer.text[:500])
    with jaeger.channel(ports.query_grpc) as channel:
        query = jaeger.query_v2.GetTraceRequest(trace_id=span.trace_id)
        chunks = list(jaeger.query_v2_grpc.QueryServiceStub(channel).GetTrace(query))
        assert any(shown in str(chunk) for chunk in chunks)
        stub = jaeger.query_v3_grpc.QueryServiceStub(channel)
        assert list(stub.GetTrace(jaeger.query_v3.GetTraceRequest(trace_id=trace_id)))
    now = int(time.time())
    for select in ("span.deep", "resource.deep", "event.deep", "instrumentation.deep"):
        query = f'{{ span:id = "{span.span_id.hex()}" }} | select({select})'
        answer = server.get("/api/search", q=query, start=now - 3600, end=now + 60)
        assert answer.status_code == 200 and len(answer.json()["traces"]) == 1, answer.text[:500]
    return v1, v2


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("where", ["span", "event", "resource", "scope"])
def test_value_as_deep_as_is_accepted_is_answered_by_every_api(all_ports, where, kind):
    server = all_ports
    body, span = with_attribute(nested(DEEPEST, kind), where)
    response = server.push(body)
    assert response.status_code == 200 and b"TOO_DEEP" not in response.content
    for place in ("live", "block"):
        for trace in answers_of(server, span, where):
            text = json.dumps(trace)
            assert text.count('"bottom"') == 1, place
            if where == "span":
                (group,) = trace.get("resourceSpans") or trace["batches"]
                (shown,) = group["scopeSpans"][0]["spans"]
                (entry,) = [entry for entry in shown["attributes"] if entry["key"] == "deep"]
                assert bottom(entry["value"]) == (DEEPEST, {"stringValue": "bottom"}), place
        server.flush()


@pytest.mark.parametrize("kind", ["array", "list"])
def test_json_takes_what_protobuf_takes(all_ports, kind):
    server, span = all_ports, otlp.span()

    def push(levels):
        event = {"name": "e", "timeUnixNano": "1", "attributes": [{"key": "deep", "value": nested_json(levels, kind)}]}
        one = {
            "traceId": span.trace_id.hex(), "spanId": span.span_id.hex(), "name": "json", "events": [event],
            "startTimeUnixNano": str(span.start_time_unix_nano), "endTimeUnixNano": str(span.end_time_unix_nano),
        }
        body = {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}
        return server.session.post(server.otlp_url + "/v1/traces", json=body, timeout=30)

    refused = push(DEEPEST + 1)
    assert refused.status_code == 200 and 'attribute \\"deep\\"' in refused.text, refused.text
    assert server.get(f"/api/v2/traces/{span.trace_id.hex()}").json().get("trace", {}) == {}
    assert push(DEEPEST).json().get("partialSuccess", {}) == {}
    for trace in answers_of(server, span):
        assert json.dumps(trace).count('"bottom"') == 1
    far = push(100)
    assert far.status_code == 400 and "attributes[0].value." in far.text, far.text[:300]


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("where", ["span", "event", "resource", "scope"])
@pytest.mark.parametrize("levels", [DEEPEST + 1, 46, 60, 99, 150])
def test_value_that_is_too_deep_is_refused_by_name(all_ports, where, kind, levels):
    server = all_ports
    body, span = with_attribute(nested(levels, kind), where)
    # The rest of the request is kept.
    good = otlp.span()
    response = server.push(body + otlp.export(good).SerializeToString())
    assert response.status_code == 200
    answer = otlp.ExportTraceServiceResponse.FromString(response.content)
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message == (
        f'ATTRIBUTE_TOO_DEEP: attribute "deep" has more than {DEEPEST} levels of lists: 1 spans')
    assert server.trace(good.trace_id.hex()) and not server.trace(span.trace_id.hex())

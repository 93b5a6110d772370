"""The query API over live spans, segments and blocks: the same answers from each, and from all together."""
import http.client
import os
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from harness import answers, otlp
from harness.shop import FORMS, MS, shop_in
from harness.waiting import eventually


@pytest.fixture(scope="module", params=FORMS)
def shop(request, tmp_path_factory):
    """(server, shop) with the shop's spans in one form."""
    with shop_in(request.param, tmp_path_factory.mktemp("queries")) as held:
        yield held


# --- trace by id -----------------------------------------------------------------------------------------------------


def test_trace_v1_and_v2_in_json_and_protobuf(shop):
    server, data = shop
    trace_id = data.cart.hex()
    v1 = server.get(f"/api/traces/{trace_id}")
    assert (v1.status_code, v1.headers["Content-Type"]) == (200, "application/json")
    assert v1.text.startswith('{"batches":[{')
    v2 = server.get(f"/api/v2/traces/{trace_id}").json()
    assert v2["trace"]["resourceSpans"] == v1.json()["batches"] and "status" not in v2 and "metrics" in v2
    binary = server.get(f"/api/traces/{trace_id}", accept="application/protobuf")
    assert binary.headers["Content-Type"] == "application/protobuf"
    parsed = TracesData.FromString(binary.content)
    binary_v2 = server.get(f"/api/v2/traces/{trace_id}", accept="application/protobuf").content
    assert binary_v2[:1] == b"\x0a" and binary.content in binary_v2
    # All that was pushed is there.
    (pushed,) = data.requests[0].resource_spans
    (got,) = parsed.resource_spans
    key = lambda kv: kv.key  # noqa: E731
    assert sorted(got.resource.attributes, key=key) == sorted(pushed.resource.attributes, key=key)
    (got_scope,), (pushed_scope,) = got.scope_spans, pushed.scope_spans
    assert got_scope.scope.name == pushed_scope.scope.name
    assert len(got_scope.spans) == 2
    for one, other in zip(sorted(got_scope.spans, key=lambda s: s.span_id), pushed_scope.spans):
        assert one.status == other.status
        for span in (one, other):
            span.attributes.sort(key=key)
            span.ClearField("status")  # compared above; absent and empty are the same
        assert one == other


def test_trace_id_may_lack_leading_zeros_and_be_in_upper_case(shop):
    server, data = shop
    for spelling in ("123456789abcdef", "0123456789ABCDEF", data.cart.hex()):
        response = server.get(f"/api/traces/{spelling}")
        assert len(answers.spans(response.json())) == 2, spelling


def test_absent_trace_and_bad_ids(shop):
    server, _ = shop
    missing = server.get("/api/traces/abcdef0123456789abcdef0123456789")
    assert (missing.status_code, missing.content) == (404, b"")
    v2 = server.get("/api/v2/traces/abcdef0123456789abcdef0123456789")
    assert v2.status_code == 200 and v2.json().keys() == {"trace", "metrics"} and v2.json()["trace"] == {}
    v2 = server.get("/api/v2/traces/abcdef0123456789abcdef0123456789", accept="application/protobuf")
    assert v2.content[:3] == b"\x0a\x00\x12", "an empty trace, and metrics"
    bad = server.get("/api/traces/xyz")
    assert bad.status_code == 400
    assert "trace IDs can only contain hex characters: invalid character 'x' at position 1" in bad.text
    assert "trace IDs can't be larger than 128 bits" in server.get("/api/traces/" + "1" * 34).text
    reversed_window = server.get("/api/traces/ff", start=20, end=10)
    assert "http parameter start must be before end. received start=20 end=10" in reversed_window.text


# --- search ----------------------------------------------------------------------------------------------------------

CART, PAY = "cart", "pay"
QUERIES = [
    ("{}", {CART: 2, PAY: 1}),
    ('{ resource.service.name = "cart" }', {CART: 2}),
    ('{ .service.name != "cart" }', {PAY: 1}),
    ('{ resource.region =~ "e." }', {CART: 2}),
    ('{ resource.region !~ "e." }', {PAY: 1}),
    ('{ name = "charge" }', {PAY: 1}),
    ("{ span.http.status_code = 200 }", {CART: 1}),
    ("{ span.http.status_code > 200 }", {PAY: 1}),
    ("{ span.http.status_code >= 200 && span.http.status_code < 501 }", {CART: 1, PAY: 1}),
    ("{ span.ratio < 0.6 }", {CART: 1}),
    ("{ span.vip = true }", {CART: 1}),
    ('{ span.tags = "b" }', {CART: 1}),
    ("{ status = error }", {PAY: 1}),
    ('{ statusMessage = "card declined" }', {PAY: 1}),
    ("{ kind = client }", {CART: 1}),
    ("{ duration > 50ms }", {CART: 1, PAY: 1}),
    ("{ duration > 99ms && duration <= 100ms }", {CART: 1}),
    ("{ traceDuration > 500ms }", {PAY: 1}),
    ('{ rootServiceName = "cart" }', {CART: 2}),
    ('{ rootName = "GET /cart" && kind = client }', {CART: 1}),
    ('{ event:name = "cache miss" }', {CART: 1}),
    ("{ event.keys = 3 }", {CART: 1}),
    ('{ link:traceID = "00000000000000000123456789abcdef" }', {PAY: 1}),
    ('{ instrumentation:name = "lib-pay" }', {PAY: 1}),
    ('{ trace:id = "123456789abcdef" }', {CART: 2}),
    ('{ span:id = "0000000000000003" }', {PAY: 1}),
    ("{ span.user != nil }", {CART: 1, PAY: 1}),
    ('{ span.user = "ada" } && { span.db.system = "redis" }', {CART: 2}),
    ('{ span.user = "ada" } || { status = error }', {CART: 1, PAY: 1}),
    ('{ span.user = "ada" } && { status = error }', {}),
    ('{ span.nothing = "x" }', {}),
    ("{ false }", {}),
]


@pytest.mark.parametrize(("query", "expected"), QUERIES, ids=[q for q, _ in QUERIES])
def test_search_finds_exactly_what_matches(shop, query, expected):
    server, data = shop
    ids = {CART: data.cart.hex(), PAY: data.pay.hex()}
    assert server.search(query, **data.window) == {ids[k]: n for k, n in expected.items()}


def test_search_answer_has_every_field(shop):
    server, data = shop
    body = server.get("/api/search", q='{ span.user = "ada" }', **data.window).json()
    (trace,) = body["traces"]
    assert trace["traceID"] == "123456789abcdef"
    assert (trace["rootServiceName"], trace["rootTraceName"], trace["durationMs"]) == ("cart", "GET /cart", 100)
    assert int(trace["startTimeUnixNano"]) == data.base
    assert trace["serviceStats"] == {"cart": {"spanCount": 2}}
    assert trace["spanSet"] == trace["spanSets"][0]
    (span,) = trace["spanSet"]["spans"]
    assert (span["spanID"], span["durationNanos"]) == ("0000000000000001", str(100 * MS))
    assert span["attributes"] == [{"key": "user", "value": {"stringValue": "ada"}}]
    assert "metrics" in body


def test_search_limit_spss_window_and_order(shop):
    server, data = shop
    body = server.get("/api/search", q="{}", **data.window).json()
    assert [t["traceID"] for t in body["traces"]] == [data.pay.hex(), "123456789abcdef"], "newest first"
    assert len(server.search("{}", limit=1, **data.window)) == 1
    body = server.get("/api/search", q="{}", spss=1, **data.window).json()
    for trace in body["traces"]:
        assert len(trace["spanSet"]["spans"]) == 1
    assert body["traces"][1]["spanSet"]["matched"] == 2
    earlier = {"start": data.window["start"] - 7200, "end": data.window["start"] - 3600}
    assert server.search("{}", **earlier) == {}


def test_search_by_legacy_parameters(shop):
    server, data = shop

    def found(**params):
        response = server.get("/api/search", **params, **data.window)
        assert response.status_code == 200, response.text
        return {t["traceID"].rjust(32, "0") for t in response.json()["traces"]}

    assert found(tags="service.name=cart") == {data.cart.hex()}
    assert found(tags='service.name=cart name="GET /cart"') == {data.cart.hex()}
    assert found(tags="service.name=cart user=grace") == set()
    assert found(minDuration="500ms") == {data.pay.hex()}
    assert found(maxDuration="500ms") == {data.cart.hex()}
    assert found() == {data.cart.hex(), data.pay.hex()}


def test_search_by_parameters_of_clients(shop):
    """Without `q`, `tags` and times, some parameters name tags and others mean nothing here."""
    server, data = shop

    def found(**params):
        return {t["traceID"].rjust(32, "0") for t in server.get("/api/search", **params).json()["traces"]}

    for tag in ("service", "service.name"):
        assert found(**{tag: "cart", "limit": 10}) == {data.cart.hex()}
        assert found(**{tag: "nobody"}) == set()
    for params in ({"lookback": "1h"}, {"_": "1700000000000", "limit": 10}, {"orgId": 1}, {"sort": "desc"}):
        assert found(**params) == {data.cart.hex(), data.pay.hex()}, params


def test_trace_v1_in_json_has_an_entry_for_each_scope(tactus):
    """Kiali reads only the first scope of an entry."""
    trace_id = os.urandom(16)
    for name in ("http", "jdbc"):
        tactus.must_push(otlp.export(otlp.span(trace_id, name=name), service="scopes", scope=name))
    for flush in (False, True):
        if flush:
            tactus.flush()
        batches = tactus.get(f"/api/traces/{trace_id.hex()}").json()["batches"]
        first = [span["name"] for batch in batches for span in batch["scopeSpans"][0]["spans"]]
        assert sorted(first) == ["http", "jdbc"], flush
        assert batches[0]["resource"] == batches[1]["resource"]


def test_protobuf_is_answered_on_accept(shop):
    server, data = shop
    for path, params in (
            ("/api/search", {"q": "{}", **data.window}), ("/api/search/tags", {}), ("/api/v2/search/tags", {}),
            ("/api/search/tag/service.name/values", {}), ("/api/v2/search/tag/name/values", {})):
        response = server.get(path, accept="application/protobuf", **params)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/protobuf"), path
        assert response.content


# --- tags and values -------------------------------------------------------------------------------------------------


def test_tags_v1_and_v2(shop):
    server, data = shop
    v2 = {s["name"]: s["tags"] for s in server.get("/api/v2/search/tags", **data.window).json()["scopes"]}
    assert v2["resource"] == ["region", "service.name"]
    assert v2["span"] == ["db.system", "http.status_code", "ratio", "tags", "user", "vip"]
    assert v2["event"] == ["keys"]
    assert len(v2["intrinsic"]) == 25
    v1 = server.get("/api/search/tags", **data.window).json()["tagNames"]
    assert v1 == sorted({*v2["resource"], *v2["span"], *v2["event"]})
    only = server.get("/api/v2/search/tags", scope="resource", **data.window).json()["scopes"]
    assert [s["name"] for s in only] == ["resource"]
    filtered = server.get("/api/v2/search/tags", scope="span", q='{ resource.service.name = "payment" }', **data.window)
    assert filtered.json()["scopes"] == [{"name": "span", "tags": ["http.status_code", "user"]}]
    assert server.get("/api/v2/search/tags", scope="foo").status_code == 400


VALUES = [
    ("resource.service.name", [("string", "cart"), ("string", "payment")]),
    (".region", [("string", "eu"), ("string", "us")]),
    ("span.http.status_code", [("int", "200"), ("int", "500")]),
    ("span.vip", [("bool", "true")]),
    ("span.ratio", [("float", "0.5")]),
    ("name", [("string", "GET /cart"), ("string", "HGETALL"), ("string", "charge")]),
    ("rootServiceName", [("string", "cart"), ("string", "payment")]),
    ("statusMessage", [("string", ""), ("string", "card declined")]),
    ("event:name", [("string", "cache miss")]),
    ("status", [("keyword", "error"), ("keyword", "ok"), ("keyword", "unset")]),
    ("duration", []),
    ("span.nothing", []),
]


@pytest.mark.parametrize(("tag", "expected"), VALUES, ids=[t for t, _ in VALUES])
def test_values_v2(shop, tag, expected):
    server, data = shop
    response = server.get(f"/api/v2/search/tag/{tag}/values", **data.window)
    assert response.status_code == 200, response.text
    assert sorted((v["type"], v.get("value", "")) for v in response.json()["tagValues"]) == sorted(expected)


def test_values_v1_filtered_and_refused(shop):
    server, data = shop
    v1 = server.get("/api/search/tag/service.name/values", **data.window).json()
    assert v1["tagValues"] == ["cart", "payment"]
    filtered = server.get(
        "/api/v2/search/tag/name/values", q='{ resource.service.name = "cart" }', **data.window).json()
    assert {v["value"] for v in filtered["tagValues"]} == {"GET /cart", "HGETALL"}
    bad = server.get("/api/v2/search/tag/app.user.id/values")
    assert bad.status_code == 400
    assert "please provide a valid tagName: failed to parse identifier app.user.id" in bad.text
    encoded = server.session.get(f"{server.url}/api/v2/search/tag/span.http%2Estatus_code/values", timeout=60)
    assert encoded.status_code == 200


CART_OR, USERS = 'resource.service.name = "cart" ||', ["ada", "grace"]
UNFINISHED = [
    ("resource.service.name", f"{{ {CART_OR} resource.service.name = }}", ["cart", "payment"]),
    ("resource.service.name", '{resource.service.name="cart" || resource.service.name=', ["cart", "payment"]),
    ("resource.service.name", f"{{ ({CART_OR} resource.service.name = ) && kind = server }}", ["cart", "payment"]),
    ("span.user", f"{{ {CART_OR} span.user = }}", USERS),
    ("span.user", f"{{ !({CART_OR} span.user = ) }}", ["grace"]),
    ("span.user", '{ !(resource.service.name = "cart" && span.user = ) }', USERS),
    ("span.user", '{ resource.service.name = "cart" && !(span.user = ) }', ["ada"]),
    ("span.user", f"{{ {CART_OR} }}", USERS),
    ("span.user", f"{{ {CART_OR} (span.user = \"ada\") != ", USERS),
    ("name", '{ name = "HGETALL" || name = }', ["GET /cart", "HGETALL", "charge"]),
    # Editors write the closing quote, too.
    *[("span.user", f'{{resource.service.name="cart" && span.user{operator}""}}', ["ada"]) for operator in ("=", "!=", "=~", "!~")],
    ("span.http.status_code", '{resource.service.name="cart" && span.http.status_code!=""}', ["200"]),
    ("span.user", f'{{ {CART_OR} span.user = "" }}', USERS),
]


@pytest.mark.parametrize(("tag", "query", "expected"), UNFINISHED, ids=[f"{t} {q}" for t, q, _ in UNFINISHED])
def test_values_for_an_unfinished_comparison(shop, tag, query, expected):
    server, data = shop
    found = server.get(f"/api/v2/search/tag/{tag}/values", q=query, **data.window)
    assert found.status_code == 200, found.text
    assert sorted(v.get("value", "") for v in found.json()["tagValues"]) == expected


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("params", "text"), [
    ({"q": "{"}, "invalid TraceQL query: parse error at line 1, col "),
    ({"q": '{ span.a > true }'}, "invalid TraceQL query: "),
    ({"q": '{ name =~ "a)|(b" }'}, "invalid TraceQL query: parse error at line 1, col 11: invalid regex: `a)|(b`"),
    ({"q": '{ name =~ "a**" }'}, "invalid TraceQL query: parse error at line 1, col 11: invalid regex: `a**`"),
    ({"q": "{}", "limit": 0}, "invalid limit: must be a positive number"),
    ({"q": "{}", "limit": 262145}, "limit 262145 exceeds max limit 262144"),
    ({"q": "{}", "spss": 101}, "spans per span set exceeds 100. received 101"),
    ({"q": "{}", "spss": -1}, "invalid spss: must be a non-negative number"),
    ({"q": "{}", "tags": "a=b"}, "invalid request: can't specify tags and q in the same query"),
    ({"tags": "a=b a=c"}, "invalid tags: tag a has been set twice"),
    ({"minDuration": "10s", "maxDuration": "1s"}, "invalid maxDuration: must be greater than minDuration"),
    ({"q": "{}", "start": 1, "end": 604802}, "range specified by start and end exceeds 168h0m0s. received start=1 end=604802"),
])
def test_bad_search_is_400_in_plain_text(tactus, params, text):
    response = tactus.get("/api/search", **params)
    assert response.status_code == 400, response.text
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text.startswith(text), response.text


STRUCTURAL = [
    ('{ name = "GET /cart" } > { name = "HGETALL" }', {CART: 1}),
    ('{ name = "HGETALL" } < { name = "GET /cart" }', {CART: 1}),
    ('{ resource.service.name = "cart" } >> { kind = client }', {CART: 1}),
    ('{ } !>> { name = "charge" }', {PAY: 1}),
    ("{ } | count() > 1", {CART: 2}),
    ("{ } | avg(duration) > 500ms", {PAY: 1}),
    ("{ } | by(resource.service.name) | count() = 1", {PAY: 1}),
    ('{ span.user = "ada" } | select(span.ratio)', {CART: 1}),
    ("({ status = error } | count() = 1) || ({ kind = client } | count() = 1)", {CART: 1, PAY: 1}),
]


@pytest.mark.parametrize(("query", "expected"), STRUCTURAL, ids=[q for q, _ in STRUCTURAL])
def test_structural_operators_and_pipelines(shop, query, expected):
    server, data = shop
    ids = {CART: data.cart.hex(), PAY: data.pay.hex()}
    assert server.search(query, **data.window) == {ids[k]: n for k, n in expected.items()}


def raw_get(connection, target):
    """Status, Location and text of an answer; nothing of the target is encoded."""
    connection.putrequest("GET", target)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.getheader("Location"), response.read().decode()


def test_urls_that_lack_encoding_or_have_too_much_of_it(tactus):
    connection = http.client.HTTPConnection("127.0.0.1", tactus.http_port, timeout=30)
    found = '{"traces":[],"metrics":{'
    for target in ['/api/search?q={name="none"}', "/api/search?q={duration>9h||duration<1ns}", "/api%2Fsearch?q={name=`none`}"]:
        status, _, text = raw_get(connection, target)
        assert status == 200 and text.startswith(found), (target, text)
    assert raw_get(connection, '/api/search?q={>}')[2].startswith("invalid TraceQL query: parse error at line 1, col ")
    assert raw_get(connection, "/%61pi%2Fecho") == (200, None, "echo\n")
    assert raw_get(connection, "/api/x%2F..%2Fecho?a=1")[:2] == (301, "/api/echo?a=1")
    assert raw_get(connection, "/api%2Fnowhere") == (404, None, "404 page not found\n")
    connection.close()


def test_values_that_need_no_data_respect_the_limit(tactus):
    values = tactus.get("/api/v2/search/tag/kind/values", limit=2).json()["tagValues"]
    assert values == [{"type": "keyword", "value": "client"}, {"type": "keyword", "value": "consumer"}]


def test_empty_answer_has_its_lists(tactus):
    long_ago = {"start": 1_000_000_000, "end": 1_000_000_060}
    assert tactus.get("/api/search", q="{}", **long_ago).text.startswith('{"traces":[],"metrics":{')
    assert tactus.get("/api/v2/search/tags", scope="event", **long_ago).json()["scopes"] == []
    assert tactus.get("/api/search/tag/nothing/values", **long_ago).json()["tagValues"] == []


def test_root_not_received_is_shown_as_such(tactus):
    span = otlp.span(bytes(15) + b"\xfe", parent_span_id=b"\1" * 8)
    tactus.must_push(otlp.export(span))
    window = {"start": int(time.time()) - 600, "end": int(time.time()) + 60}
    text = tactus.get("/api/search", q='{ trace:id = "fe" }', **window).text
    assert '"traceID":"fe"' in text and '"rootServiceName":"\\u003croot span not yet received\\u003e"' in text
    assert "rootTraceName" not in text

"""Tools for language models at /api/mcp, over the protocol that their clients speak."""
import datetime
import json
import time

import pytest
import requests

from harness.server import merge
from harness.servers import Servers
from harness.shop import Shop

ENABLED = {"query_frontend": {"mcp_server": {"enabled": True}}}
TOOLS = {
    "traceql-search", "traceql-metrics-instant", "traceql-metrics-range", "get-trace", "get-attribute-names",
    "get-attribute-values", "docs-traceql"}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def post(server, message, path="/api/mcp", **headers):
    body = message if isinstance(message, (str, bytes)) else json.dumps(message)
    return requests.post(server.url + path, data=body, headers={**HEADERS, **headers}, timeout=60)


def ask(server, method, params=None, **kwargs):
    """The response to one request."""
    answer = post(server, {"jsonrpc": "2.0", "id": "a-1", "method": method, "params": params or {}}, **kwargs)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    response = answer.json()
    assert (response["jsonrpc"], response["id"]) == ("2.0", "a-1")
    return response


def call(server, tool, **arguments):
    """The result of a tool, and its text."""
    result = ask(server, "tools/call", {"name": tool, "arguments": arguments})["result"]
    (content,) = result["content"]
    assert content["type"] == "text"
    return result, content["text"]


def found(server, tool, kind, **arguments):
    result, text = call(server, tool, **arguments)
    assert not result["isError"], text
    encoding = "markdown" if kind == "documentation" else "json"
    assert result["_meta"] == {"type": kind, "encoding": encoding, "version": "1"}
    return text


def failure(server, tool, **arguments):
    result, text = call(server, tool, **arguments)
    assert result["isError"], text
    return text


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(server, shop): the shop's two traces are pushed."""
    group = Servers(tmp_path_factory.mktemp("mcp"))
    server = group.start(config=ENABLED)
    shop = Shop(time.time_ns() - 10 * 10**9)
    for request in shop.requests:
        server.must_push(request)
    yield server, shop
    group.close()


def test_client_begins_as_the_protocol_says(stored):
    server, _ = stored
    client = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    result = ask(server, "initialize", client)["result"]
    assert result["protocolVersion"] == "2025-03-26"
    assert result["serverInfo"] == {"name": "tempo", "version": "0.1.0"}
    assert set(result["capabilities"]) == {"tools", "resources"}
    assert "docs-traceql" in result["instructions"]
    initialized = post(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **{"MCP-Protocol-Version": "2025-03-26"})
    assert (initialized.status_code, initialized.text) == (202, "")
    assert ask(server, "ping")["result"] == {}


def test_tools_and_resources_are_listed(stored):
    server, _ = stored
    tools = ask(server, "tools/list")["result"]["tools"]
    assert {tool["name"] for tool in tools} == TOOLS
    for tool in tools:
        hints = {name: value for name, value in tool["annotations"].items() if name != "title"}
        assert hints == {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
        assert set(tool["inputSchema"]["required"]) <= set(tool["inputSchema"]["properties"])
    resources = ask(server, "resources/list")["result"]["resources"]
    assert {resource["uri"] for resource in resources} == {
        f"docs://traceql/{name}" for name in ("query", "metrics", "basic", "aggregates", "structural")}
    for resource in resources:
        (content,) = ask(server, "resources/read", {"uri": resource["uri"]})["result"]["contents"]
        assert content["mimeType"] == resource["mimeType"] == "text/markdown"
        assert content["text"].startswith("# TraceQL")
    assert ask(server, "resources/templates/list")["result"] == {"resourceTemplates": []}


def test_search_and_trace_are_those_of_the_api(stored):
    server, shop = stored
    query = '{ resource.service.name = "payment" && status = error }'
    answer = json.loads(found(server, "traceql-search", "search-results", query=query))
    (trace,) = answer["traces"]
    assert trace["traceID"] == shop.pay.hex()
    window = {name: rfc3339(seconds) for name, seconds in shop.window.items()}
    # Models also write numbers, and times without a zone.
    windows = [window, shop.window, {name: str(seconds) for name, seconds in shop.window.items()}]
    windows.append({name: seconds * 1000 for name, seconds in shop.window.items()})
    windows.append({name: text.rstrip("Z") for name, text in window.items()})
    for one in windows:
        assert json.loads(found(server, "traceql-search", "search-results", query=query, **one))["traces"] == answer["traces"], one
    before = {"start": rfc3339(shop.base // 10**9 - 7200), "end": rfc3339(shop.base // 10**9 - 3600)}
    assert not json.loads(found(server, "traceql-search", "search-results", query=query, **before))["traces"]

    text = found(server, "get-trace", "trace", trace_id=trace["traceID"])
    route = server.get(f"/api/v2/traces/{shop.pay.hex()}", accept="application/vnd.grafana.llm")
    assert json.loads(text)["trace"] == route.json()["trace"]
    assert json.loads(text)["trace"]["services"][0]["serviceName"] == "payment"


def test_metrics_are_those_of_the_api(stored):
    server, _ = stored
    query = "{ } | count_over_time() by (resource.service.name)"
    series = json.loads(found(server, "traceql-metrics-instant", "metrics-instant", query=query))["series"]
    counts = {one["labels"][0]["value"]["stringValue"]: one["value"] for one in series}
    assert counts == {"cart": 2, "payment": 1}
    series = json.loads(found(server, "traceql-metrics-range", "metrics-range", query=query))["series"]
    sums = {
        one["labels"][0]["value"]["stringValue"]: sum(sample.get("value", 0) for sample in one["samples"]) for one in series}
    assert sums == {"cart": 2, "payment": 1}


def test_attributes_are_those_of_the_api(stored):
    server, _ = stored
    names = {scope["name"]: set(scope["tags"]) for scope in json.loads(found(server, "get-attribute-names", "attribute-names"))["scopes"]}
    assert {"user", "db.system"} <= names["span"] and {"service.name", "region"} <= names["resource"]
    one = json.loads(found(server, "get-attribute-names", "attribute-names", scope="resource"))
    assert [scope["name"] for scope in one["scopes"]] == ["resource"]
    values = json.loads(found(server, "get-attribute-values", "attribute-values", name="resource.service.name"))
    assert sorted(values["tagValues"]["string"]) == ["cart", "payment"]
    values = json.loads(found(
        server, "get-attribute-values", "attribute-values", name="span.user", **{"filter-query": "{ status = error }"}))
    assert values["tagValues"] == {"string": ["grace"]}


@pytest.mark.parametrize("name", ["basic", "aggregates", "structural", "metrics"])
def test_language_is_described(stored, name):
    server, _ = stored
    text = found(server, "docs-traceql", "documentation", name=name)
    assert text.startswith("# TraceQL") and "```traceql" in text


def test_language_is_described_under_any_name(stored):
    server, _ = stored
    first, _, rest = found(server, "docs-traceql", "documentation", name="intro").partition("\n\n")
    assert first == 'There is no document "intro", only basic, aggregates, structural, metrics. This is basic.'
    assert rest == found(server, "docs-traceql", "documentation", name="basic")


@pytest.mark.parametrize(("tool", "arguments", "text"), [
    ("traceql-search", {}, "argument query: is required"),
    ("traceql-search", {"query": "{ } | rate()"}, "use the tool traceql-metrics-instant or traceql-metrics-range"),
    ("traceql-search", {"query": "{ foo = 1 }"}, "argument query: invalid TraceQL query: parse error at line 1, col 3"),
    ("traceql-search", {"query": "{ }", "start": "today"}, "argument start: expected a time"),
    ("traceql-metrics-range", {"query": "{ }"}, "use the tool traceql-search"),
    ("traceql-metrics-instant", {"query": "{ } | rate()", "end": True}, "argument end: expected a string"),
    ("get-trace", {"trace_id": "x"}, "argument trace_id: trace IDs can only contain hex characters"),
    ("get-attribute-names", {"scope": "x"}, "argument scope: expected one of"),
    ("get-attribute-values", {"name": ""}, "argument name: is required"),
    ("docs-traceql", {}, "argument name: is required"),
    (
        "traceql-metrics-range", {"query": "{ } | rate()", "start": "2020-01-01T00:00:00Z"},
        "tool failed with http status code 400 and reason metrics query time range exceeds the maximum allowed duration"),
])
def test_wrong_arguments_are_results_that_say_what_to_change(stored, tool, arguments, text):
    assert text in failure(stored[0], tool, **arguments)


@pytest.mark.parametrize(("message", "status", "code"), [
    ("{", 400, -32700),
    ('{"params": ' + "[" * 900_000, 400, -32700),
    ("[]", 400, -32600),
    ('[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', 400, -32600),
    ({"id": 1, "method": "ping"}, 400, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "prompts/list"}, 200, -32601),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "drop-tables"}}, 200, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///etc/passwd"}}, 200, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 5}, 200, -32602),
])
def test_wrong_messages_are_errors_of_the_protocol(stored, message, status, code):
    answer = post(stored[0], message)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_other_methods_and_large_bodies_are_refused(stored):
    server, _ = stored
    answer = requests.get(server.url + "/api/mcp", timeout=30)
    assert (answer.status_code, set(answer.headers["Allow"].split(","))) == (405, {"POST", "DELETE"})
    large = post(server, b" " * (1 << 20) + b"{}")
    assert (large.status_code, large.text) == (413, "http: request body too large")
    assert post(server, {"jsonrpc": "2.0", "method": "x"}, **{"MCP-Protocol-Version": "1999-01-01"}).status_code == 400


def test_delete_tells_the_mcp_server_of_grafana_that_there_are_tools(stored):
    server, _ = stored
    answer = requests.delete(server.url + "/api/mcp", timeout=30)
    assert (answer.status_code, answer.text) == (200, "")


def test_calls_are_counted_by_tool(stored):
    server, _ = stored
    name = 'tempo_query_frontend_mcp_calls_total{tool="docs-traceql"}'
    before = server.metrics().get(name, 0)
    call(server, "docs-traceql", name="basic")
    ask(server, "tools/call", {"name": "unknown"})
    counted = {key: value for key, value in server.metrics().items() if key.startswith("tempo_query_frontend_mcp_calls_total")}
    assert counted[name] == before + 1 and "unknown" not in str(counted)


def test_tools_see_the_tenant_of_the_caller_alone(servers):
    server = servers.start(config=merge(ENABLED, {"multitenancy_enabled": True, "http_api_prefix": "/tempo"}))
    shop = Shop(time.time_ns() - 10 * 10**9)
    for request in shop.requests:
        assert server.push(request, headers={"X-Scope-OrgID": "shop"}).status_code == 200
    nobody = post(server, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, path="/tempo/api/mcp")
    assert (nobody.status_code, nobody.text) == (401, "no org id\n")
    assert requests.delete(server.url + "/tempo/api/mcp", timeout=30).status_code == 401
    assert requests.delete(server.url + "/tempo/api/mcp", headers={"X-Scope-OrgID": "shop"}, timeout=30).status_code == 200
    for tenant, count in (("shop", 2), ("other", 0), ("other|shop", 2)):
        params = {"name": "traceql-search", "arguments": {"query": "{ }"}}
        response = ask(server, "tools/call", params, path="/tempo/api/mcp", **{"X-Scope-OrgID": tenant})
        assert len(json.loads(response["result"]["content"][0]["text"])["traces"]) == count
    assert post(server, {}).status_code == 404


def test_route_is_unknown_unless_it_is_enabled(servers):
    server = servers.start()
    answer = post(server, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert requests.delete(server.url + "/api/mcp", timeout=30).status_code == 404
    assert "/api/mcp" not in server.get("/status/endpoints").text

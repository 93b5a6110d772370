"""Zipkin's query API, as its UI and Grafana's datasource ask it."""
import http.client
import json
import os
import re
import time

import pytest
import requests

from harness import dialects, otlp
from harness.server import Tactus, merge
from harness.trip import served


@pytest.fixture(scope="module", params=["live", "blocks"])
def trip(request, tmp_path_factory):
    """(server, trip): its spans are live, or in a block."""
    with served(tmp_path_factory.mktemp("zipkin"), in_blocks=request.param == "blocks") as running:
        yield running


def get(server, path, status=200, **params):
    answer = requests.get(f"http://127.0.0.1:{server.ports.zipkin}{path}", params=params, timeout=20)
    assert answer.status_code == status, (path, params, answer.status_code, answer.text)
    return answer


def test_names(trip):
    server, _ = trip
    assert get(server, "/api/v2/services").json() == ["bank", "mail", "shop"]
    assert sorted(get(server, "/api/v2/spans", serviceName="shop").json()) == ["charge", "get /", "get /buy", "send"]
    get(server, "/api/v2/spans", 400)
    assert get(server, "/api/v2/remoteServices", serviceName="shop").json() == []


def test_keys_leave_out_what_the_pages_call_their_conditions(servers):
    """A tag called as a condition of Zipkin's pages would take its place there."""
    server = dialects.start(servers)
    span = otlp.span(attributes={"serviceName": "x", "minDuration": "x", "tagQuery": "x", "limit": "x", "env": "x"})
    server.must_push(otlp.export(span))
    assert get(server, "/api/v2/autocompleteKeys").json() == ["env", "limit"]


def test_slashes_too_many_at_the_port_for_spans(servers):
    server = dialects.start(servers)

    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.ports.zipkin, timeout=20)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        connection.close()
        return answer.status, answer.headers["Location"]

    for number, path in enumerate(("//api/v2/spans", "/api/v2/spans/", "//api//v2/spans//")):
        span = {
            "traceId": os.urandom(16).hex(), "id": os.urandom(8).hex(), "timestamp": time.time_ns() // 1000, "duration": 100,
            "localEndpoint": {"serviceName": f"sent{number}"}}
        assert ask("POST", path, json.dumps([span])) == (202, None), path
    assert get(server, "/api/v2/services").json() == ["sent0", "sent1", "sent2"]
    assert ask("GET", "//api/v2/services?a=b") == (301, "/api/v2/services?a=b")
    assert get(server, "/zipkin//api/v2/services/").json() == ["sent0", "sent1", "sent2"]
    get(server, "/nowhere", 404)


def test_a_trace(trip):
    server, trip = trip
    spans = get(server, f"/api/v2/trace/{trip.trace}").json()
    by_name = {span["name"]: span for span in spans}
    assert set(by_name) == {"get /buy", "charge", "/charge", "send", "receive"}
    charge = by_name["/charge"]
    assert (charge["kind"], charge["parentId"]) == ("SERVER", by_name["charge"]["id"])
    assert charge["localEndpoint"]["serviceName"] == "bank"
    assert charge["tags"]["error"] == "true" and charge["tags"]["amount"] == "12.5"
    assert (charge["timestamp"], charge["duration"]) == ((trip.base + 20_000_000) // 1000, 30_000)
    assert charge["annotations"][0]["value"].startswith("exception")
    assert get(server, "/api/v2/trace/" + "0" * 31 + "1", 404).text.strip().endswith("not found")


def test_search(trip):
    server, trip = trip

    def found(**params):
        return [spans[0]["traceId"].rjust(32, "0") for spans in get(server, "/api/v2/traces", **params).json()]

    now = int(time.time() * 1000) + 60_000
    for params, expected in [
        ({}, {trip.trace, trip.alone}),
        ({"serviceName": "bank"}, {trip.trace}),
        ({"serviceName": "shop", "spanName": "get /"}, {trip.alone}),
        ({"serviceName": "shop", "minDuration": 1_000_000}, {trip.alone}),
        ({"minDuration": 1000, "maxDuration": 60_000}, {trip.trace}),
        ({"serviceName": "bank", "annotationQuery": "error"}, {trip.trace}),
        ({"serviceName": "shop", "annotationQuery": "http.status_code=500"}, {trip.trace}),
        ({"annotationQuery": "http.status_code=200 and vip"}, set()),
        ({"annotationQuery": "exception"}, {trip.trace}),
        ({"endTs": trip.base // 10**6 - 60_000, "lookback": 60_000}, set()),
    ]:
        assert set(found(**{"endTs": now, "lookback": 3_600_000, **params})) == expected, params
    assert len(found(endTs=now, lookback=3_600_000, limit=1)) == 1


def test_many(trip):
    server, trip = trip
    many = get(server, "/api/v2/traceMany", traceIds=f"{trip.trace},{trip.alone}").json()
    assert sorted(len(spans) for spans in many) == [1, 5]
    for wrong in ("", trip.trace, f"{trip.trace},{trip.trace}"):
        get(server, "/api/v2/traceMany", 400, traceIds=wrong)


def test_dependencies(trip):
    server, _ = trip
    links = get(server, "/api/v2/dependencies", endTs=int(time.time() * 1000) + 60_000, lookback=3_600_000).json()
    assert sorted((l["parent"], l["child"], l["callCount"], l.get("errorCount", 0)) for l in links) == [
        ("shop", "bank", 1, 1), ("shop", "mail", 1, 0)]
    get(server, "/api/v2/dependencies", 400)


def test_the_main_port_has_it_too(trip):
    server, _ = trip
    assert server.get("/zipkin/api/v2/services").json() == ["bank", "mail", "shop"]


def test_queries_at_the_port_for_spans_are_like_those_at_the_main_port(trip):
    server, trip = trip
    answer = get(server, "/api/v2/traces", endTs=int(time.time() * 1000) + 60_000, lookback=3_600_000)
    assert len(answer.content) > 1024 and answer.headers["Content-Encoding"] == "gzip"
    pages = requests.get(server.url + "/metrics", timeout=20).text
    assert re.search(r'^tempo_request_duration_seconds_count\{.*route="zipkin_api_v2_traces".*\} [1-9]', pages, re.MULTILINE)


def test_queries_at_all_ports_keep_the_time_of_the_server(tmp_path):
    """A few milliseconds are too short for thousands of spans."""
    ports = dialects.Ports()
    config = merge(dialects.config(ports), {"server": {"http_server_write_timeout": "5ms"}})
    server = Tactus(tmp_path, config=config).start()
    try:
        for _ in range(4):
            spans = [otlp.span(os.urandom(16), name=f"n{number}", attributes={"k": "v" * 300}) for number in range(3000)]
            assert server.push(otlp.export(*spans, service="svc")).status_code == 200
        for port, path in [(ports.zipkin, "/api/v2/traces?limit=5000"), (ports.query_http, "/api/traces?service=svc&limit=5000")]:
            answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=60)
            assert answer.status_code == 503 and "timeout" in answer.text, (port, answer.status_code, answer.text[:200])
    finally:
        server.close()

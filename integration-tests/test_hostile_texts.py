"""Texts that are none, or far too long, in each parameter of each route that the API reference lists, and in each text of gRPC's questions."""
import contextlib
import re
import socket
import time

import grpc
import pytest
import requests

from harness import dialects, jaeger, otlp
from harness.clients import at_once
from harness.paths import REPOSITORY
from harness.servers import Servers
from harness.streaming import StreamingClient
from test_hostile_tenants import HOSTILE, bounded

# Encoded as in a URL.
TEXTS = {
    "zero": "a%00b", "no UTF-8": "%ff%fe%c3%28", "broken escape": "%", "broken escapes": "%zz%1", "long": "x" * 30_000, "many digits": "9" * 5_000,
    "negative": "-1", "no number": "NaN", "infinite": "1e999", "largest": "18446744073709551615", "quotes": "%22%27%60%3C%3E%5C", "open": "%7B" * 9_000,
    "parentheses": "(" * 9_000, "line breaks": "a%0d%0aX-Y:%20z", "direction": "%E2%80%AE%F0%9F%98%80", "path": "..%2f..%2f..%2fetc%2fpasswd", "empty": "",
    "separators": "%7C" * 9_000, "commas": "," * 9_000, "pairs": "a%3Db%20" * 3_000,
}

# Routes that change what goes on, and do so at once.
LEFT_OUT = ("/shutdown", "/flush", "/ingester", "/log_level", "/debug", "/distributor", "/memberlist", "/compactor", "/querier", "/metrics-generator")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("texts"))
    started = dialects.start(servers, extra={"multitenancy_enabled": True})
    for number in range(5):
        started.push(otlp.export(*otlp.trace(3)), headers={"X-Scope-OrgID": f"t{number}"})
    yield started
    servers.close()


def routes():
    """Path and parameter of all that is asked with GET at port 3200."""
    found = []
    for line in (REPOSITORY / "docs" / "api.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if len(cells) < 3 or cells[0] not in ("| GET", "| any") or not (path := re.fullmatch(r"`(/[^`]*)`", cells[1])):
            continue
        path = path[1]
        if path.startswith(LEFT_OUT):
            continue
        names = re.findall(r"`([A-Za-z_.]+)`", cells[2])
        if "see [search]" in cells[2] or "search" in path:
            names += ["q", "tags", "minDuration", "maxDuration", "limit", "spss", "start", "end", "since", "explain", "scope", "maxStaleValues"]
        if "metrics" in path:
            names += ["q", "query", "start", "end", "since", "step", "exemplars", "maxSeries", "explain"]
        found += [(path, name) for name in dict.fromkeys(names)]
        if "{" in path:
            found.append((path, None))
    return found


def ask(server, path, name, text):
    """By a connection of its own: a client library would mend the URL."""
    if name is None:
        path = re.sub(r"\{[^}]*\}", lambda _: text or "x", path, count=1)
    path = re.sub(r"\{[^}]*\}", "0" * 31 + "1", path)
    url = path if name is None else f"{path}?{name}={text}"
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: hostile\r\nConnection: close\r\n\r\n".encode())
        answer, left = b"", time.monotonic() + 3
        with contextlib.suppress(ConnectionError, TimeoutError):
            while time.monotonic() < left and (part := connection.recv(65_536)):
                answer += part
                if b"text/event-stream" in answer:
                    break
        return answer


def is_fine(answer):
    """An answer, or an error that names no more than it must. Too long a URL may be cut off."""
    if not answer:
        return True
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status < 400 or (status < 500 or status == 501) and len(body) <= 1100 and b"\r\nX-Y:" not in head


def test_texts_of_parameters(server):
    asked = [(*route, name) for route in routes() for name in TEXTS]
    assert len(asked) > 150 * len(TEXTS), "the reference lists the routes"

    def answer(number):
        path, parameter, name = asked[number]
        return asked[number], ask(server, path, parameter, TEXTS[name])

    with bounded(server):
        answers = at_once(answer, len(asked), 16)
    wrong = [(what, said[:300]) for what, said in answers if not is_fine(said)]
    assert not wrong, wrong[:5]
    silent = [what for what, said in answers if not said]
    assert not silent, silent[:5]
    assert "panicked" not in server.logs()


def test_texts_of_ten_megabytes(server):
    """In the URL, in a header, in the body."""
    long = "x" * (10 << 20)
    requests_of = [
        f"GET /api/search?q={long} HTTP/1.1\r\nHost: x\r\n\r\n", f"GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n", f"{long} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /api/search HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: {long}\r\n\r\n", f"GET /api/search HTTP/1.1\r\nHost: {long}\r\n\r\n"]

    def ask_long(number):
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as connection:
            answer = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.sendall(requests_of[number % len(requests_of)].encode())
                answer = connection.recv(4096)
            return answer

    def post(number):
        path = ("/api/search", "/api/v2/search/tags", "/api/metrics/query_range", "/api/tail-sampling/dry-run", "/jaeger/api/transform")[number % 5]
        body = '{"q": "' + long + '"}'
        return requests.post(server.url + path, data=body, headers={**HOSTILE, "Content-Type": "application/json"}, timeout=60)

    with bounded(server):
        for answer in at_once(ask_long, 40, 8):
            assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:200]
        for answer in at_once(post, 20, 5):
            # Five at once may need more memory than requests get together; the refusal names the limit.
            is_refused = answer.status_code == 503 and "server.max_inflight_bytes" in answer.text
            assert (answer.status_code < 500 or is_refused) and len(answer.content) <= 1100, (answer.url, answer.status_code, answer.text[:200])
    assert "panicked" not in server.logs()


REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("text", ["x" * (3 << 20), "x" * (10 << 20), "a\0b", "{" * 100_000, "\u202e", "|" * 100_000], ids=lambda text: f"{text[0]!a}-{len(text)}")
def test_texts_of_grpc(server, text):
    """Each text of each question of the streaming querier and of Jaeger's services."""
    asked = []
    with bounded(server):
        with StreamingClient(server.grpc_port, tenant="hostile") as client:
            for method, named in [
                ("Search", {"Query": text}), ("SearchTags", {"scope": text}), ("SearchTags", {"query": text}), ("SearchTagsV2", {"scope": text}),
                ("SearchTagValues", {"tagName": text}), ("SearchTagValuesV2", {"tagName": text}), ("SearchTagValuesV2", {"tagName": "span.a", "query": text}),
                ("MetricsQueryRange", {"query": text}), ("MetricsQueryInstant", {"query": text})]:
                asked.append((method, lambda method=method, named=named: list(client.start(method, timeout=30, **named))))
            run(asked)
        with jaeger.channel(server.ports.query_grpc) as channel:
            q = jaeger.query_v3
            stub = jaeger.query_v3_grpc.QueryServiceStub(channel)
            how = {"timeout": 30, "metadata": [("x-scope-orgid", "hostile")]}
            run([
                ("GetTrace", lambda: list(stub.GetTrace(q.GetTraceRequest(trace_id=text), **how))),
                ("GetOperations", lambda: stub.GetOperations(q.GetOperationsRequest(service=text, span_kind=text), **how)),
                ("FindTraces", lambda: list(stub.FindTraces(q.FindTracesRequest(query=q.TraceQueryParameters(service_name=text, operation_name=text)), **how))),
            ])
    assert "panicked" not in server.logs()


def run(asked):
    for method, call in asked:
        try:
            call()
        except grpc.RpcError as error:
            assert error.code() in REFUSED and len(error.details()) <= 5_000, (method, error.code(), error.details()[:300])

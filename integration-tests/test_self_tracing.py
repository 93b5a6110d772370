"""Own traces: sent by OTLP if the environment says so, continued from callers and through a cluster, never in a loop."""
import gzip
import http.server
import os
import threading
import time

import pytest

from harness import otlp
from harness.cluster import Cluster
from harness.waiting import eventually


class Collector:
    """Takes exports over HTTP and keeps them."""

    def __init__(self):
        self.spans, self.requests = [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, dict(self.headers), otlp.ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path, headers, request):
        self.requests.append((path, headers))
        for resource_spans in request.resource_spans:
            resource = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                self.spans += [Seen(resource["service.name"], span) for span in scope_spans.spans]

    def of_trace(self, trace_id):
        return [span for span in self.spans if span.trace_id == trace_id]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Seen:
    def __init__(self, service, span):
        self.service, self.name, self.kind = service, span.name, span.kind
        self.trace_id, self.span_id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.failed = span.status.code == 2
        self.attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}

    def __repr__(self):
        return f"{self.service}: {self.name} {self.attributes}"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


def environment(url, **more):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def caller(sampled=True):
    """A trace id and the header of a caller."""
    trace_id = os.urandom(16).hex()
    return trace_id, {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-0{int(sampled)}"}


def test_requests_are_traced_as_their_callers_say(servers, collector):
    server = servers.start(env=environment(collector.url, OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b"))
    otlp.push_trace(server)
    trace_id, headers = caller()
    assert server.get("/api/search", q="{}", headers=headers).status_code == 200
    untraced, unsampled = caller(sampled=False)
    assert server.get("/api/search", q="{}", headers=unsampled).status_code == 200
    assert server.get("/api/search", q="{ nonsense").status_code == 400

    def request():
        return next((s for s in collector.of_trace(trace_id) if s.name == "GET /api/search"), None)

    root = eventually(request, "the span of the request")
    assert root.parent == headers["traceparent"].split("-")[2] and root.kind == 2
    assert root.attributes["http.response.status_code"] == 200 and root.attributes["http.route"] == "/api/search"
    assert root.service == "tactus-all" and not root.failed
    eventually(lambda: any(s.parent == root.span_id for s in collector.of_trace(trace_id)), "a job below it")
    eventually(
        lambda: any(s.attributes.get("http.response.status_code") == 400 for s in collector.spans), "a root of its own")
    assert not collector.of_trace(untraced)
    path, sent = collector.requests[0]
    assert path == "/v1/traces" and sent["x-key"] == "a b" and sent["traceparent"].endswith("-00")
    assert not any("/ready" in s.name or "/metrics" in s.name for s in collector.spans)


def test_push_is_traced_for_a_caller_that_is(servers, collector):
    server = servers.start(env=environment(collector.url, OTEL_EXPORTER_OTLP_COMPRESSION="gzip"))
    trace_id, headers = caller()
    assert server.push(otlp.export(otlp.span()), headers=headers).status_code == 200
    push = eventually(lambda: collector.of_trace(trace_id), "the span of the push")[-1]
    assert push.attributes["receiver"] == "otlp_http" and push.attributes["tenant"] == "single-tenant"
    server.flush()
    eventually(lambda: any(s.name == "flush" for s in collector.spans), "the span of the flush")


def test_traces_go_through_the_processes_of_a_cluster(tmp_path, bucket, collector):
    counts = {"ingester": 1, "distributor": 1, "query-frontend": 1, "querier": 1}
    config = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    with Cluster(tmp_path, bucket, counts, config, env=environment(collector.url)) as cluster:
        cluster.start()

        def roots(trace_id, *services):
            """Names of the spans below the caller, once all these services have sent what they did."""
            spans = collector.of_trace(trace_id)
            known = {s.span_id for s in spans}
            complete = {f"tactus-{service}" for service in services} <= {s.service for s in spans}
            return complete and [s.name for s in spans if s.parent not in known]

        trace_id, headers = caller()
        assert cluster["distributor-0"].push(otlp.export(otlp.span()), headers=headers).status_code == 200
        eventually(lambda: roots(trace_id, "distributor", "ingester") == ["push"], "one tree of the push")
        asked, headers = caller()
        assert cluster["query-frontend-0"].get("/api/search", q="{}", headers=headers).status_code == 200
        eventually(
            lambda: roots(asked, "query-frontend", "querier", "ingester") == ["GET /api/search"],
            "one tree of the query")


def test_spans_about_the_end_are_sent(servers, collector):
    server = servers.start(env=environment(collector.url, OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_SERVICE_NAME="mine"))
    assert server.get("/api/echo").status_code == 200
    assert server.stop() == 0
    assert any(s.name == "GET /api/echo" and s.service == "mine" for s in collector.spans)


def test_off_unless_asked_for_and_a_mistake_is_no_reason_not_to_start(servers):
    quiet = servers.start("quiet")
    assert quiet.metric("tactus_self_tracing_sent_spans_total") == 0
    assert "tactus_self_tracing_sent_spans_total" not in quiet.get("/metrics").text
    wrong = servers.start("wrong", env={"OTEL_TRACES_EXPORTER": "console"})
    assert "OTEL_TRACES_EXPORTER: unknown exporter console" in wrong.logs()


def test_collector_that_is_not_there_costs_nothing_but_spans(servers):
    server = servers.start(env=environment("http://127.0.0.1:9", OTEL_BSP_MAX_QUEUE_SIZE="1"))

    def dropped():
        assert server.get("/api/echo").status_code == 200
        return server.metric("tactus_self_tracing_dropped_spans_total") > 0

    eventually(dropped, "spans are dropped and counted")
    assert server.stop() == 0


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_server_that_stores_its_own_traces_stops_making_new_ones(servers, protocol):
    server = servers.new()
    port = server.otlp_grpc_port if protocol == "grpc" else server.otlp_http_port
    server.env.update(environment(f"http://127.0.0.1:{port}", OTEL_EXPORTER_OTLP_PROTOCOL=protocol))
    server.start()
    trace_id, headers = caller()
    assert server.get("/api/echo", headers=headers).status_code == 200
    eventually(lambda: server.trace(trace_id), "its own trace is stored")
    # Queries from outside are traced; what is received is not. The scrapes below are neither.
    sent = "tactus_self_tracing_sent_spans_total"
    last = eventually(lambda: settled(server, sent), "no more spans are made")
    assert last > 0


def settled(server, name):
    """The value of a counter once it is the same for ten periods of the exporter; else nothing."""
    before = server.metric(name)
    time.sleep(0.5)
    return before if server.metric(name) == before else None

"""The distributor's rules on single spans, and copies to other places."""
import concurrent.futures
import random

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from harness import answers, otlp
from harness.server import merge
from harness.waiting import eventually

RULES = [
    {"name": "health checks", "query": '{ name = "/healthz" }', "action": "drop"},
    {"name": "no tokens", "action": "remove_attributes", "attributes": ["span.token", "resource.secret"]},
    {"name": "users", "query": '{ resource.service.name = "shop" }', "action": "hash_attributes", "attributes": ["span.user"]},
]


def test_spans_go_and_attributes_are_removed_or_hashed(servers):
    server = servers.start(config={"distributor": {"drop_rules": RULES}})
    keep = otlp.span(name="GET /cart", attributes={"token": "t0ps3cret", "user": "ada", "n": 1})
    again = otlp.span(keep.trace_id, name="GET /user", attributes={"user": "ada"})
    gone = otlp.span(keep.trace_id, name="/healthz", attributes={"user": "probe"})
    server.must_push(otlp.export(keep, gone, again, service="shop", resource={"secret": "x", "region": "eu"}))
    other = otlp.span(attributes={"user": "ada"})
    server.must_push(otlp.export(other, service="bank"))
    response = server.get(f"/api/v2/traces/{keep.trace_id.hex()}").json()["trace"]
    spans = {span["name"]: span for _, span in answers.spans(response)}
    assert set(spans) == {"GET /cart", "GET /user"}
    assert answers.attribute(spans["GET /cart"], "token") is None
    assert answers.attribute(spans["GET /cart"], "n") == ("intValue", "1")
    kind, hashed = answers.attribute(spans["GET /cart"], "user")
    assert kind == "stringValue" and hashed != "ada" and hashed == answers.attribute(spans["GET /user"], "user")[1]
    assert answers.resources(response) == [{"service.name": "shop", "region": "eu"}]
    ((_, untouched),) = server.trace(other.trace_id.hex())
    assert answers.attribute(untouched, "user") == ("stringValue", "ada")
    discarded = {k: v for k, v in server.metrics().items() if k.startswith("tempo_discarded_spans_total") and "drop_rule" in k}
    assert sum(discarded.values()) == 1


def test_what_a_rule_removes_is_not_stored_even_if_its_query_takes_too_long(servers):
    """In a large request the query may need more processor time than it may have."""
    query = '{ span.text =~ ".*(a[^b]{1,20}c|q[^r]{2,30}s)+.*9Z" }'
    rule = {"name": "secrets", "query": query, "action": "remove_attributes", "attributes": ["span.text", "span.secret"]}
    server = servers.start(config={"distributor": {"drop_rules": [rule]}})
    texts = ["".join(random.choices("abcdefqrs0123 ", k=1900)) for _ in range(4000)]
    spans = [otlp.span(name="x", attributes={"text": text}) for text in texts]
    spans.append(otlp.span(name="x", attributes={"text": "plain", "secret": "4111"}))
    server.must_push(otlp.export(*spans))
    assert server.trace(spans[-1].trace_id.hex())
    assert server.metric("tactus_distributor_drop_rule_failures_total") > 0, "the query was quick enough"
    assert server.search("{ span.secret != nil }") == {}


def test_a_request_of_which_nothing_is_left_succeeds(servers):
    server = servers.start(config={"distributor": {"drop_rules": RULES}})
    server.must_push(otlp.export(otlp.span(name="/healthz")))
    assert server.search("{ }") == {}


def test_wrong_rules_end_the_start_by_name(servers):
    for rule, text in [
        ({"name": "tree", "query": "{ } > { }"}, "tree"),
        ({"name": "sums", "query": "{ } | count() > 3"}, "sums"),
        ({"name": "broken", "query": "{ name = "}, "broken"),
        ({"name": "odd", "action": "explode"}, "odd"),
        ({"name": "nothing", "action": "hash_attributes"}, "nothing"),
    ]:
        server = servers.new("refused", config={"distributor": {"drop_rules": [rule]}}).spawn()
        assert server.process.wait(30) != 0, rule
        assert text in server.logs()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP server that remembers spans."""

    def __init__(self):
        self.names, self.tenants = [], []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):  # noqa: N802  the name of the method on the wire
        self.names += [s.name for g in request.resource_spans for scope in g.scope_spans for s in scope.spans]
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.server.stop(0)


def forward_to(port, **more):
    return {
        "distributor": {"forwarders": [
            {"name": "copy", "backend": "otlpgrpc", "otlpgrpc": {"endpoints": [f"127.0.0.1:{port}"], "tls": {"insecure": True}}, **more}]},
        "overrides": {"defaults": {"forwarders": ["copy"]}},
    }


def test_copies_go_on_without_what_a_filter_leaves_out(servers, collector):
    config = merge(forward_to(collector.port, filter={"traces": {"span": ["{ kind = client }"]}}), {"distributor": {"drop_rules": RULES}})
    server = servers.start(config=config)
    spans = [otlp.span(name="a"), otlp.span(name="b", kind=otlp.Span.SPAN_KIND_CLIENT), otlp.span(name="/healthz")]
    server.must_push(otlp.export(*spans))
    eventually(lambda: collector.names == ["a"], "the copy")
    assert len(server.search("{ }")) == 2


def test_a_place_that_is_down_harms_nobody(servers):
    server = servers.start(config=forward_to(1))
    for _ in range(50):
        server.must_push(otlp.export(otlp.span()))
    assert len(server.search("{ }")) == 50
    eventually(lambda: server.metric("tempo_distributor_forwarder_pushes_failures_total") > 0, "failures are counted")


def test_conditions_in_another_language_are_refused_with_the_right_words(servers):
    config = forward_to(1, filter={"traces": {"span": ['attributes["x"] == "y"']}})
    server = servers.new("refused", config=config).spawn()
    assert server.process.wait(30) != 0
    assert "TraceQL" in server.logs()

"""Spans that are logged and counted one by one: log_received_spans, log_discarded_spans, metric_received_spans."""
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import otlp
from harness.waiting import eventually

ERROR = Status(code=Status.STATUS_CODE_ERROR)


def lines(server, message, span):
    """The lines with a message that name a span."""
    wanted = (f"msg={message} ", f"spanid={span.span_id.hex()}")
    return [line for line in server.logs().splitlines() if all(part in line for part in wanted)]


def line(server, message, span):
    (only,) = eventually(lambda: lines(server, message, span), f"a line of {span.name}")
    return only


def test_spans_that_come_in_are_logged_and_counted(servers):
    server = servers.start(config={"distributor": {
        "log_received_spans": {"enabled": True, "include_all_attributes": True},
        "metric_received_spans": {"enabled": True, "root_only": True},
    }})
    root = otlp.span(name="GET /cart", duration=250 * otlp.MILLISECOND, attributes={"user": "ada", "n": 7}, kind=Span.SPAN_KIND_SERVER, status=ERROR)
    child = otlp.span(root.trace_id, name="SELECT", parent_span_id=root.span_id)
    server.must_push(otlp.export(root, child, service="shop", resource={"region": "eu"}))
    found = line(server, "received", root)
    for part in (f"traceid={root.trace_id.hex()}", "tenant=single-tenant", "service=shop", 'name="GET /cart"', "kind=server", "status=error",
                 "duration_seconds=0.25", "service.name=shop", "region=eu", "user=ada", "n=7"):
        assert part in found, (part, found)
    assert "status=unset" in line(server, "received", child)
    assert "reason" not in found
    (counted,) = [name for name in server.metrics() if name.startswith("tempo_distributor_debug_spans_received_total{")]
    assert 'name="GET /cart"' in counted and 'service="shop"' in counted and server.metrics()[counted] == 1


def test_spans_that_are_not_stored_are_logged_with_the_reason(servers):
    server = servers.start(config={
        "distributor": {"log_discarded_spans": {"enabled": True, "filter_by_status_error": True}},
        "overrides": {"defaults": {"global": {"max_bytes_per_trace": 1000}}},
    })
    kept, large = otlp.span(status=ERROR), otlp.span(name="x" * 2000, status=ERROR)
    quiet = otlp.span(large.trace_id, name="y" * 2000)
    for span in (kept, large, quiet):
        server.push(otlp.export(span))
    found = line(server, "discarded", large)
    assert "reason=trace_too_large" in found and f"traceid={large.trace_id.hex()}" in found
    assert "name=" not in found, "the ids are all that was asked for"
    assert not lines(server, "discarded", kept) and not lines(server, "discarded", quiet)
    assert "msg=received" not in server.logs()


def test_a_part_of_a_request_that_is_not_stored_is_logged_as_a_number(servers):
    server = servers.start(config={"distributor": {"log_discarded_spans": {"enabled": True}}})
    good, bad = otlp.span(), otlp.span(span_id=b"\0" * 8)
    server.push(otlp.export(good, bad))
    eventually(lambda: "msg=discarded tenant=single-tenant reason=invalid_span_id spans=1" in server.logs(), "the line of the bad span")
    assert good.span_id.hex() not in server.logs()

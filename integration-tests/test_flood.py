"""More than the server can take: it refuses with a hint and does not grow."""
import os
import threading

import grpc
import pytest
import requests
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from harness import otlp
from harness.ports import free_ports
from harness.waiting import eventually

MEMORY_BOUND = 700 << 20
RATE_LIMITED = {"overrides": {"defaults": {"ingestion": {"rate_limit_bytes": 1000, "burst_size_bytes": 20_000}}}}


def retry_delay(details):
    """Seconds of the RetryInfo in a list of details."""
    (detail,) = [d for d in details if d.type_url == "type.googleapis.com/google.rpc.RetryInfo"]
    return RetryInfo.FromString(detail.value).retry_delay.seconds


def until_refused(send):
    for _ in range(1000):
        refused = send()
        if refused is not None:
            return refused
    raise AssertionError("never refused")


def test_rate_limit_over_http_is_429_with_retry_after(servers):
    server = servers.start(config={**RATE_LIMITED, "distributor": {"retry_after_on_resource_exhausted": "3s"}})
    request = otlp.export(*otlp.trace(20))

    def send():
        response = server.push(request)
        return None if response.status_code == 200 else response

    response = until_refused(send)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "3"
    status = RpcStatus.FromString(response.content)
    assert status.code == 8 and status.message.startswith("RATE_LIMITED: ingestion rate limit (local: 1000 bytes/s")
    assert retry_delay(status.details) == 3
    assert server.metric('tempo_discarded_spans_total{reason="rate_limited",tenant="single-tenant"}') >= 20


def test_rate_limit_over_grpc_is_resource_exhausted_with_retry_info(servers):
    server = servers.start(config={**RATE_LIMITED, "distributor": {"retry_after_on_resource_exhausted": "3s"}})
    request = otlp.export(*otlp.trace(20))
    with otlp.GrpcExporter(server.otlp_grpc_port) as exporter:

        def send():
            try:
                exporter.export(request)
            except grpc.RpcError as error:
                return error

        error = until_refused(send)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details().startswith("RATE_LIMITED: ")
    trailers = dict(error.trailing_metadata())
    assert retry_delay(RpcStatus.FromString(trailers["grpc-status-details-bin"]).details) == 3


def test_request_larger_than_the_burst_says_so(servers):
    server = servers.start(config=RATE_LIMITED)
    response = server.push(otlp.export(*otlp.trace(400)))
    assert 400 <= response.status_code < 500
    assert b"RATE_LIMITED: batch size (" in response.content


def test_trace_over_its_limit_is_a_partial_success(servers):
    server = servers.start(config={"overrides": {"defaults": {"global": {"max_bytes_per_trace": 5000}}}})
    trace = otlp.trace(3)
    server.must_push(otlp.export(*trace))
    response = server.push(otlp.export(*(otlp.span(trace[0].trace_id, attributes={"v": "x" * 200}) for _ in range(50))))
    partial = otlp.ExportTraceServiceResponse.FromString(response.content).partial_success
    assert response.status_code == 200 and 0 < partial.rejected_spans <= 50
    assert partial.error_message.startswith("TRACE_TOO_LARGE: "), partial.error_message
    trace_id = trace[0].trace_id.hex()
    assert server.search(f'{{ trace:id = "{trace_id}" }}') == {trace_id: 3 + 50 - partial.rejected_spans}
    discarded = server.metric('tempo_discarded_spans_total{reason="trace_too_large",tenant="single-tenant"}')
    assert discarded == partial.rejected_spans


def test_live_trace_limit_refuses_new_traces_only(servers):
    server = servers.start(config={
        "overrides": {"defaults": {"ingestion": {"max_traces_per_user": 5}}},
        "ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}})
    traces = [otlp.trace(2) for _ in range(5)]
    for trace in traces:
        server.must_push(otlp.export(*trace))
    response = server.push(otlp.export(*otlp.trace(2)))
    partial = otlp.ExportTraceServiceResponse.FromString(response.content).partial_success
    assert (response.status_code, partial.rejected_spans) == (200, 2)
    assert partial.error_message.startswith("LIVE_TRACES_EXCEEDED: ") or "MAX_LIVE_TRACES" in partial.error_message
    server.must_push(otlp.export(otlp.span(traces[0][0].trace_id)))
    assert len(server.trace(traces[0][0].trace_id.hex())) == 3


class Flood(threading.Thread):
    """Sends as fast as it goes until told to stop."""

    def __init__(self, server, bodies, stop):
        super().__init__(daemon=True)
        self.server, self.bodies, self.stop, self.statuses, self.hints = server, bodies, stop, {}, set()

    def run(self):
        session = requests.Session()
        while not self.stop.is_set():
            for body in self.bodies:
                body = body.replace(ID_START, os.urandom(len(ID_START)))
                response = session.post(
                    self.server.otlp_url + "/v1/traces", data=body,
                    headers={"Content-Type": "application/x-protobuf"}, timeout=60)
                self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
                if response.status_code != 200:
                    self.hints.add(response.headers.get("Retry-After"))
                if self.stop.is_set():
                    return


# All trace ids of a body begin with this, so that each sending can have ids of its own.
ID_START = b"\x13\x37flood!"


def big_body(spans):
    """A body whose contents do not compress."""
    return otlp.export(*(
        otlp.span(ID_START + os.urandom(8), attributes={f"k{i}": os.urandom(30).hex() for i in range(8)})
        for _ in range(spans))).SerializeToString()


def flood(server, requests_wanted):
    """Sends that many big bodies over four connections; (answers by status, their Retry-After headers)."""
    bodies, stop = [big_body(400) for _ in range(20)], threading.Event()
    floods = [Flood(server, bodies, stop) for _ in range(4)]
    for one in floods:
        one.start()
    try:
        eventually(
            lambda: sum(sum(one.statuses.values()) for one in floods) >= requests_wanted, "the flood", 180, interval=0.2)
    finally:
        stop.set()
    for one in floods:
        one.join(60)
    statuses, hints = {}, set()
    for one in floods:
        hints |= one.hints
        for status, count in one.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    print(f"{statuses}, {len(bodies[0])} bytes each, peak {server.peak_resident_bytes() >> 20} MiB")
    return statuses, hints


@pytest.mark.parametrize("storage", ["working", "refusing"])
def test_memory_is_bounded_under_a_flood(servers, storage, bucket):
    config = {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h", "max_block_bytes": 20_000_000}}
    if storage == "refusing":
        # Nobody listens where S3 should be: nothing leaves the machine.
        config = {**config, **bucket.config(free_ports(1)[0])}
    server = servers.start(config=config)
    statuses, hints = flood(server, 700)
    assert statuses.keys() <= {200, 429}, statuses
    assert None not in hints, "a refusal without Retry-After"
    assert server.peak_resident_bytes() < MEMORY_BOUND, f"{server.peak_resident_bytes() >> 20} MiB"
    eventually(lambda: server.push(otlp.export(otlp.span())).status_code == 200, "pushes are taken", 60)


def test_full_memory_refuses_with_a_hint_and_recovers(servers):
    server = servers.start(config={"ingester": {"max_live_bytes": 1 << 20}})
    statuses, hints = flood(server, 300)
    assert statuses.keys() <= {200, 429} and statuses.get(429), statuses
    assert all(hint and int(hint) >= 1 for hint in hints), hints
    eventually(lambda: server.push(otlp.export(otlp.span())).status_code == 200, "pushes are taken again", 60)


def test_full_disk_budget_refuses_with_a_hint(servers, bucket):
    server = servers.start(config={
        "ingester": {"max_disk_bytes": 5_000_000}, **bucket.config(free_ports(1)[0])})
    statuses, hints = flood(server, 200)
    assert statuses.keys() <= {200, 429, 503} and len(statuses) > 1, statuses
    assert all(hint and int(hint) >= 1 for hint in hints), hints
    used = sum(file.stat().st_size for file in server.wal.rglob("*") if file.is_file())
    assert used < 20_000_000

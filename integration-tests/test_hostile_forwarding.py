"""An endpoint that gets copies of spans and refuses some of them."""
import itertools
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from harness import otlp
from harness.waiting import eventually

FAILED = "tempo_distributor_forwarder_pushes_failures_total"


class EveryOther(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.calls = itertools.count()

    def Export(self, request, context):
        if next(self.calls) % 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no" * 300)
        return otlp.ExportTraceServiceResponse()


def forwarding_to(port, **more):
    endpoint = {"endpoints": [f"127.0.0.1:{port}"], "tls": {"insecure": True}}
    return {
        "distributor": {"forwarders": [{"name": "f", "backend": "otlpgrpc", "otlpgrpc": endpoint, **more}]},
        "overrides": {"defaults": {"forwarders": ["f"]}},
    }


def test_endpoint_that_takes_every_other_request_does_not_fill_the_log(servers):
    collector = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(EveryOther(), collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    try:
        server = servers.start(config=forwarding_to(port))
        for _ in range(300):
            otlp.push_trace(server)
        eventually(lambda: server.metric(FAILED) == 150, "half of them are refused")
        lines = [line for line in server.logs().splitlines() if "forward" in line]
        # Ten of each in ten seconds.
        assert 2 <= len(lines) <= 100 and max(map(len, lines)) < 1100, lines
    finally:
        collector.stop(None)

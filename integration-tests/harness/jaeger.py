"""Jaeger's query APIs: requests over HTTP, and gRPC stubs made of the .proto files; Jaeger's own query service in front of a server."""
import contextlib

import grpc
import requests

from . import dialects
from .ports import free_ports
from .program import Program
from .protos import compile_protos
from .tools import need

PROTOS = (
    "jaeger/api_v2/model.proto", "jaeger/api_v2/query.proto", "jaeger/api_v2/collector.proto", "jaeger/api_v2/sampling.proto",
    "jaeger/api_v3/query_service.proto", "jaeger/storage/v1/storage.proto", "jaeger/storage/v2/trace_storage.proto",
)


_compiled = compile_protos(*PROTOS, stubs=True)
model, _ = _compiled["jaeger/api_v2/model.proto"]
query_v2, query_v2_grpc = _compiled["jaeger/api_v2/query.proto"]
collector, collector_grpc = _compiled["jaeger/api_v2/collector.proto"]
sampling, sampling_grpc = _compiled["jaeger/api_v2/sampling.proto"]
query_v3, query_v3_grpc = _compiled["jaeger/api_v3/query_service.proto"]
storage_v1, storage_v1_grpc = _compiled["jaeger/storage/v1/storage.proto"]
storage_v2, storage_v2_grpc = _compiled["jaeger/storage/v2/trace_storage.proto"]


@contextlib.contextmanager
def channel(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


class JaegerQuery(Program):
    """Jaeger's query service, which reads from a server's storage port."""

    title = "Jaeger's query"

    def __init__(self, storage_port, directory):
        self.http, self.grpc, admin = free_ports(3)
        super().__init__(directory / "jaeger-query.log")
        self.run(
            [need("jaeger-query", dialects.JAEGER_QUERY), f"--grpc-storage.server=127.0.0.1:{storage_port}",
             f"--query.http-server.host-port=127.0.0.1:{self.http}", f"--query.grpc-server.host-port=127.0.0.1:{self.grpc}",
             f"--admin.http.host-port=127.0.0.1:{admin}"],
            env={"SPAN_STORAGE_TYPE": "grpc"})
        try:
            self.until(lambda: requests.get(f"http://127.0.0.1:{admin}/", timeout=2).status_code == 200, "Jaeger's query is up")
        except BaseException:
            self.close()
            raise

"""Clients at a port that speaks another protocol: they are told what it speaks and where to go, and the log says who came."""
import contextlib
import socket
import ssl

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness import otlp
from harness.certificates import Certificates
from harness.servers import Servers
from harness.waiting import eventually
from test_hostile_connections import PREFACE

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def tactus(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("shared"))
    yield group.start(config={"stream_over_http_enabled": False})
    group.close()


def lines(server, port, sent):
    return [line for line in server.logs().splitlines() if f" port={port} " in line and f'sent={sent} ' in line]


def call(port, path, request, credentials=None):
    """The status of a call with any message."""
    address = f"127.0.0.1:{port}"
    with (grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)) as channel:
        method = channel.unary_unary(path, request_serializer=lambda request: request.SerializeToString(), response_deserializer=ExportTraceServiceResponse.FromString)
        with pytest.raises(grpc.RpcError) as failed:
            method(request, timeout=20)
        return failed.value.code(), failed.value.details()


def test_otlp_over_http_at_the_port_for_grpc(tactus):
    span = otlp.span()
    port = tactus.otlp_grpc_port
    # Far more than a socket takes at once: the answer arrives all the same.
    large = otlp.export(*(otlp.span(attributes={"text": "x" * 1000}) for _ in range(3000)))
    for request in (otlp.export(span), large):
        answer = requests.post(f"http://127.0.0.1:{port}/v1/traces", request.SerializeToString(), headers=PROTOBUF, timeout=20)
        assert answer.status_code == 400
        assert answer.text == f"this port speaks OTLP over gRPC; OTLP over HTTP is on port {tactus.otlp_http_port}\n"
    found = eventually(lambda: lines(tactus, port, "HTTP"), "a line of the log")
    assert "level=warn" in found[0] and "client=127.0.0.1:" in found[0] and str(tactus.otlp_http_port) in found[0], found
    # Many more say nothing more.
    for _ in range(50):
        requests.get(f"http://127.0.0.1:{port}/", timeout=20)
    assert len(lines(tactus, port, "HTTP")) <= 20
    with otlp.GrpcExporter(port) as client:
        client.export(otlp.export(span))


def test_grpc_at_the_port_for_otlp_over_http(tactus):
    code, text = call(tactus.otlp_http_port, EXPORT, otlp.export(otlp.span()))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert text == f"this port speaks OTLP over HTTP; OTLP over gRPC is on port {tactus.otlp_grpc_port}"
    assert eventually(lambda: lines(tactus, tactus.otlp_http_port, "gRPC"), "a line of the log")
    assert tactus.push(otlp.export(otlp.span())).status_code == 200


def test_main_ports_name_each_other(tactus):
    answer = requests.get(f"http://127.0.0.1:{tactus.grpc_port}/ready", timeout=20)
    assert (answer.status_code, answer.text) == (400, f"this port speaks gRPC; HTTP is on port {tactus.http_port}\n")
    code, text = call(tactus.http_port, "/tempopb.StreamingQuerier/Search", otlp.export())
    assert (code, text) == (grpc.StatusCode.UNIMPLEMENTED, f"this port speaks HTTP; gRPC is on port {tactus.grpc_port}")
    assert tactus.get("/ready").status_code == 200


@pytest.mark.parametrize("name", ["http", "grpc", "otlp_http", "otlp_grpc"])
def test_tls_at_a_port_without_it(tactus, name):
    port = getattr(tactus, f"{name}_port")
    context = ssl.create_default_context()
    # Bytes that are no TLS, instead of an end without a word.
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, pytest.raises(ssl.SSLError, match="(?i)wrong.version.number|record layer"):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    assert eventually(lambda: lines(tactus, port, "TLS"), "a line of the log")


def test_no_tls_at_ports_that_have_it(servers, tmp_path):
    certificates = Certificates(tmp_path)
    tls = {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}
    server = servers.start("encrypted", config={
        "server": {"grpc_tls_config": tls},
        "distributor": {"receivers": {"otlp": {"protocols": {"http": {"tls": tls}, "grpc": {"tls": tls}}}}},
    })
    told = "this port speaks TLS: connect with https, or turn TLS on in the client"
    for port in (server.otlp_http_port, server.otlp_grpc_port, server.grpc_port):
        answer = requests.post(f"http://127.0.0.1:{port}/v1/traces", otlp.export(otlp.span()).SerializeToString(), headers=PROTOBUF, timeout=20)
        assert (answer.status_code, answer.text) == (400, told + "\n")
        # Worth another try, as if there were no answer: the client keeps its spans until somebody has corrected it.
        assert call(port, EXPORT, otlp.export(otlp.span())) == (grpc.StatusCode.UNAVAILABLE, told)
        assert eventually(lambda: lines(server, port, '"no TLS"'), "a line of the log")  # noqa: B023
    assert server.metrics().get('tempo_distributor_spans_received_total{tenant="single-tenant"}', 0) == 0
    credentials = grpc.ssl_channel_credentials(certificates.authority.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{server.otlp_grpc_port}", credentials) as channel:
        method = channel.unary_unary(EXPORT, request_serializer=lambda request: request.SerializeToString(), response_deserializer=ExportTraceServiceResponse.FromString)
        method(otlp.export(otlp.span()), timeout=20)


def test_bytes_of_no_protocol_end_the_connection(tactus):
    for port in (tactus.otlp_grpc_port, tactus.otlp_http_port):
        for start in (b"\x00" * 100, b"SSH-2.0-x\r\n\r\n", PREFACE[:10] + b"\xff" * 100):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                # An answer, or a reset: it does not wait for more.
                with contextlib.suppress(ConnectionError):
                    connection.sendall(start)
                    while connection.recv(4096):
                        pass
    assert tactus.get("/ready").status_code == 200

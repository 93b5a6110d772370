"""Numbers that are as large, as small or as odd as their type allows, in each field of each message of each gRPC service, and in each
parameter of queries over HTTP."""
import itertools
import pathlib
import tempfile
import time
import urllib.parse

import grpc
import pytest
import requests
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from grpc_tools import protoc

from harness import dialects, otlp
from harness.clients import at_once
from harness.paths import REPOSITORY
from harness.servers import Servers
from test_hostile_tenants import HOSTILE, bounded

# Minutes on an unoptimised build.
pytestmark = pytest.mark.hostile

NUMBERS = {
    **dict.fromkeys((Field.TYPE_INT64, Field.TYPE_SINT64, Field.TYPE_SFIXED64), (2**63 - 1, -2**63, -1, 1)),
    **dict.fromkeys((Field.TYPE_UINT64, Field.TYPE_FIXED64), (2**64 - 1, 2**63, 1)),
    **dict.fromkeys((Field.TYPE_INT32, Field.TYPE_SINT32, Field.TYPE_SFIXED32), (2**31 - 1, -2**31, -1)),
    **dict.fromkeys((Field.TYPE_UINT32, Field.TYPE_FIXED32), (2**32 - 1, 2**31, 1)),
    **dict.fromkeys((Field.TYPE_DOUBLE, Field.TYPE_FLOAT), (float("inf"), float("nan"), -1e308)),
    Field.TYPE_ENUM: (99, -1), Field.TYPE_BOOL: (True,), Field.TYPE_BYTES: (b"", b"\1", b"\1" * 17, b"\xff" * 16),
}
QUERIES = ("{ }", "{ } | rate() by (.a)", "{ } | quantile_over_time(duration, .9)")
DEPTH = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("numbers"))
    started = dialects.start(servers, extra={"multitenancy_enabled": True})
    for _ in range(2):
        spans = [otlp.span(attributes={"a": number}) for number in range(500)]
        assert started.push(otlp.export(*spans), headers=HOSTILE).status_code == 200
        started.flush()
    yield started
    servers.close()


def services():
    """Of each service its full name, and its methods."""
    protos = REPOSITORY / "proto"
    files = [str(path.relative_to(protos)) for path in sorted(protos.rglob("*.proto")) if "google" not in path.parts]
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "all"
        arguments = ["protoc", f"-I{protos}", f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, *files]) == 0
        described = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    return [pool.FindServiceByName(f"{file.package}.{service.name}") for file in described.file for service in file.service]


def port_of(server, service):
    ports = server.ports
    return {
        "jaeger.api_v2.QueryService": ports.query_grpc, "jaeger.api_v3.QueryService": ports.query_grpc,
        "jaeger.api_v2.CollectorService": ports.jaeger_grpc, "jaeger.api_v2.SamplingManager": ports.sampling_grpc,
        "opentelemetry.proto.collector.trace.v1.TraceService": server.otlp_grpc_port,
    }.get(service.full_name, ports.storage_grpc if service.full_name.startswith("jaeger.storage") else server.grpc_port)


def sound(message, block_id, query, depth=DEPTH):
    """Fills what has to be there for the numbers to be looked at."""
    now = time.time_ns()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if depth and not field.message_type.GetOptions().map_entry:
                inner = getattr(message, field.name)
                sound(inner.add() if field.is_repeated else inner, block_id, query, depth - 1)
            continue
        if field.is_repeated:
            continue
        name = field.name.lower()
        if field.type == Field.TYPE_STRING:
            text = {"tenant": "hostile", "query": query, "block_id": block_id, "tag": "span.a", "tagname": "span.a", "service_name": "shop"}
            setattr(message, field.name, text.get(name, ""))
        elif field.type == Field.TYPE_BYTES and "trace_id" in name:
            setattr(message, field.name, b"\1" * 16)
        elif "start_nanos" in name or name == "start":
            setattr(message, field.name, (now - 3600 * 10**9) // (10**9 if field.type == Field.TYPE_UINT32 else 1))
        elif name == "end":
            setattr(message, field.name, (now + 60 * 10**9) // (10**9 if field.type == Field.TYPE_UINT32 else 1))
        elif "step" in name:
            setattr(message, field.name, 60 * 10**9)
        elif "intervals" in name or "limit" in name:
            setattr(message, field.name, 60)
    return message


def odd(message, path=(), depth=DEPTH):
    """Each field and each number that it may have."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if depth and not field.message_type.GetOptions().map_entry:
                inner = getattr(message, field.name)
                if field.is_repeated and not inner:
                    continue
                yield from odd(inner[0] if field.is_repeated else inner, (*path, field.name), depth - 1)
        elif field.type in NUMBERS:
            for number in NUMBERS[field.type]:
                yield path, field, number


def with_number(message, path, field, number):
    changed = type(message)()
    changed.CopyFrom(message)
    inner = changed
    for name in path:
        inner = getattr(inner, name)
        inner = inner[0] if hasattr(inner, "add") else inner
    if field.is_repeated:
        getattr(inner, field.name).extend([number] * 3)
    else:
        setattr(inner, field.name, number)
    return changed


def call(channel, method, message):
    how = {"timeout": 10, "metadata": [("x-scope-orgid", "hostile")]}
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.client_streaming:
            answers = channel.stream_stream(path)(iter([message.SerializeToString()]), **how)
        else:
            answers = channel.unary_stream(path)(message.SerializeToString(), **how)
        for _ in itertools.islice(answers, 1_000):
            pass
        answers.cancel()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None


SERVICES = services()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
def test_numbers_of_grpc(server, service):
    block_id = next((server.blocks / "hostile").glob("*/meta.json")).parent.name
    wrong = []

    def ask(case):
        method, message = case
        with grpc.insecure_channel(f"127.0.0.1:{port_of(server, service)}") as channel:
            code, details = call(channel, method, message) or (None, "")
            if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL) and "Stream removed" in details or "panic" in details:
                wrong.append((method.full_name, str(message)[:500], code, details[:200]))

    cases = []
    for method in service.methods:
        if method.full_name.endswith(("Frontend.Process", "LiveTail.Follow", "Watch")):
            continue
        for query in QUERIES:
            base = sound(message_factory.GetMessageClass(method.input_type)(), block_id, query)
            cases += [(method, with_number(base, *one)) for one in odd(base)]
    with bounded(server):
        at_once(lambda number: ask(cases[number]), len(cases), 8)
    print(f"{len(cases)} messages")
    assert not wrong, wrong[:5]
    assert "panicked" not in server.logs(), server.logs()[server.logs().index("panicked") - 500:][:2_000]


PARAMETERS = (
    "start", "end", "step", "limit", "spss", "exemplars", "since", "minDuration", "maxDuration", "maxSeries", "maxStaleValues", "rate", "lookback", "endTs",
    "query.search_depth", "query.duration_min", "query.start_time_min")
TEXTS = (
    "-1", "1", "1e308", "NaN", "inf", "1e-308", str(2**32), str(2**63), str(2**64), "-" + str(2**63), "9" * 300, "1ns", "-1s", "106751991167300d", "1e400s",
    "9999-12-31T23:59:59Z")


def test_numbers_of_parameters(server):
    paths = {
        server.http_port: (
            "/api/search", "/api/v2/search/tags", "/api/v2/search/tag/span.a/values", "/api/search/tags", "/api/metrics/query_range", "/api/metrics/query",
            "/api/traces/" + "01" * 16, "/api/v2/traces/" + "01" * 16, "/ui/api/search", "/ui/api/metrics/query_range", "/ui/api/services",
            "/ui/api/typical", "/ui/api/cost", "/ui/api/queries", "/ui/api/status", "/ui/api/graph"),
        server.ports.query_http: ("/api/traces", "/api/dependencies", "/api/v3/traces", "/api/services/shop/operations", "/api/metrics/latencies"),
        server.ports.zipkin: ("/api/v2/traces", "/api/v2/dependencies"),
        server.ports.sampling_http: ("/api/sampling", "/sampling"),
    }
    cases = [(port, path, name, text) for port, all_paths in paths.items() for path in all_paths for name in PARAMETERS for text in TEXTS]
    failed = []

    def ask(number):
        port, path, name, text = cases[number]
        query = QUERIES[1] if "metrics" in path else QUERIES[0]
        params = {"q": query, "service": "shop", "query.service_name": "shop", "serviceName": "shop", name: text}
        url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(params)}"
        with requests.get(url, headers=HOSTILE, timeout=60, stream=True) as answer:
            answer.raw.read(100_000)
            if answer.status_code >= 500:
                failed.append((url, answer.status_code, answer.text[:200]))

    with bounded(server):
        at_once(ask, len(cases), 8)
    print(f"{len(cases)} requests")
    assert not failed, failed[:5]
    assert "panicked" not in server.logs()

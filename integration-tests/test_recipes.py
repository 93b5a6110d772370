"""The recipes of docs/recipes.md, run as they stand there.

A block whose first line names a file is that file; a ```sh block starts the program of its section. Ports become free ones: those
of the server under test, and of the program itself."""
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import sys
import time

import pytest
import requests
import yaml

from harness import answers, dialects, otlp
from harness.certificates import Certificates
from harness.documents import FENCE, file_name
from harness.paths import CACHE, REPOSITORY
from harness.ports import free_ports
from harness.program import Program
from harness.servers import Servers
from harness.tools import need
from harness.waiting import eventually

PAGE = (REPOSITORY / "docs" / "recipes.md").read_text()
SECTIONS = {
    heading: FENCE.findall(text)
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
COLLECTOR = CACHE / "bin" / "collector"
SERVER = "SPAN_KIND_SERVER"


def scripts(heading):
    return [text for language, text in SECTIONS[heading] if language == "sh"]


def files(heading):
    """Name -> text."""
    return {file_name(text): text for _, text in SECTIONS[heading] if file_name(text)}


@pytest.fixture(scope="module")
def tactus(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("recipes"))
    yield dialects.start(group)
    group.close()


def with_ports(text, ports):
    """The text with other ports; those of them that are not in it do not matter."""
    return re.sub(r"\b\d{4,5}\b", lambda match: str(ports.get(int(match[0]), match[0])), text)


def ports_of(server):
    ports = server.ports
    return {
        3200: server.http_port, 4317: server.otlp_grpc_port, 4318: server.otlp_http_port, 14250: ports.jaeger_grpc,
        14268: ports.thrift_http, 9411: ports.zipkin, 5778: ports.sampling_http, 6831: ports.compact, 6832: ports.binary,
    }


def environment(*programs, **more):
    """PATH with these folders first."""
    return {**os.environ, "PATH": ":".join([*map(str, programs), os.environ["PATH"]]), **more}


def node_clients():
    modules = dialects.CLIENTS / "node" / "node_modules"
    need("the Node clients of Jaeger and Zipkin", modules / ".installed")
    need("node")
    return environment(NODE_PATH=str(modules))


def python_clients():
    installed = dialects.CLIENTS / "python" / ".venv" / ".installed"
    need("the Python clients of Jaeger and Zipkin", installed)
    return environment(installed.parent / "bin", PYTHONWARNINGS="ignore")


def own_python():
    return environment(pathlib.Path(sys.executable).parent)


@contextlib.contextmanager
def running(script, files, env, folder, ports):
    """The program of a script in a folder with these files; ends with the block."""
    for name, text in files.items():
        (folder / name).write_text(with_ports(text, ports))
    program = Program(folder / "program.log")
    program.run(["bash", "-euc", with_ports(script, ports)], cwd=folder, env=env, start_new_session=True)
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.process.wait(30)


def ask(program, url, headers):
    """The answer of a program that is starting."""
    return program.until(lambda: requests.get(url, headers=headers, timeout=10), f"{url} answers")


def spans_of(server, trace_id, count):
    """name -> span, once so many are there."""
    def all_there():
        trace = server.get(f"/api/v2/traces/{trace_id}").json().get("trace", {})
        return trace if len(answers.spans(trace)) == count else None

    trace = eventually(all_there, f"{count} spans of {trace_id}")
    return {span["name"]: span for _, span in answers.spans(trace)}, answers.resources(trace)


# Headers of a caller with this trace and span, by the language of the client.
CALLERS = {
    "jaeger": lambda trace, span: {"uber-trace-id": f"{trace}:{span}:0:1"},
    "zipkin": lambda trace, span: {
        "X-B3-TraceId": trace, "X-B3-SpanId": span, "X-B3-ParentSpanId": "00000000000000aa", "X-B3-Sampled": "1"},
    "w3c": lambda trace, span: {"traceparent": f"00-{trace}-{span}-01"},
}
# heading: (environment, language of callers, name of the span of the request)
APPLICATIONS = {
    "Express with the Jaeger client": (node_clients, "jaeger", "GET /orders/:id"),
    "Express with the Zipkin client": (node_clients, "zipkin", "GET /orders/:id"),
    "Flask with the Jaeger client": (python_clients, "jaeger", "GET /orders/<order>"),
    "Flask with py_zipkin": (python_clients, "zipkin", "GET /orders/<order>"),
    "Flask with OpenTelemetry": (own_python, "w3c", "GET /orders/<order>"),
}
RUNS = [(heading, number) for heading in APPLICATIONS for number in range(len(scripts(heading)))]


def test_every_program_of_the_page_is_run_here():
    assert {heading for heading in SECTIONS if scripts(heading)} == {*APPLICATIONS, "Traces through Kafka"}
    named = [name for heading in SECTIONS for name in files(heading)]
    assert sorted(named) == sorted({
        "express_jaeger.js", "express_zipkin.js", "flask_jaeger.py", "flask_zipkin.py", "flask_otlp.py", "kafka_headers.py",
        "orders.py", *COLLECTORS})


@pytest.mark.parametrize(("heading", "number"), RUNS)
def test_application_continues_the_trace_of_its_caller(tactus, tmp_path, heading, number):
    make_environment, language, name = APPLICATIONS[heading]
    env = make_environment()
    port, = free_ports(1)
    trace_id, caller = os.urandom(16).hex(), os.urandom(8).hex()
    ports = {**ports_of(tactus), 8080: port}
    with running(scripts(heading)[number], files(heading), env, tmp_path, ports) as program:
        headers = CALLERS[language](trace_id, caller)
        answer = ask(program, f"http://127.0.0.1:{port}/orders/7", headers)
        assert (answer.status_code, answer.json()) == (200, {"id": "7"}), (answer.text, program.logs())
        try:
            spans, resources = spans_of(tactus, trace_id, 2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{program.logs()[-4000:]}") from None
    by_name = {span_name.lower(): span for span_name, span in spans.items()}
    request, query = by_name[name.lower()], by_name["select orders"]
    assert request["kind"] == SERVER
    assert query["parentSpanId"] == request["spanId"]
    assert answers.attribute(query, "order.id") == ("stringValue", "7")
    assert {resource["service.name"] for resource in resources} == {"shop"}
    # With Zipkin both sides of a call are one span.
    joined = request["spanId"] if language == "zipkin" else request["parentSpanId"]
    assert answers.hex_id(joined) == caller


def test_trace_goes_through_the_headers_of_a_message(tactus, tmp_path):
    heading = "Traces through Kafka"
    (script,) = scripts(heading)
    with running(script, files(heading), own_python(), tmp_path, ports_of(tactus)) as program:
        assert program.process.wait(60) == 0, program.logs()
        trace_id = program.logs().strip()
    spans, resources = spans_of(tactus, trace_id, 4)
    order, sent = spans["POST /orders"], spans["send orders"]
    processed, invoice = spans["process orders"], spans["send invoice"]
    assert (sent["kind"], processed["kind"]) == ("SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER")
    assert [child["parentSpanId"] for child in (sent, processed, invoice)] == [
        parent["spanId"] for parent in (order, sent, processed)]
    assert {resource["service.name"] for resource in resources} == {"shop", "billing"}
    ((_, query),) = [block for block in SECTIONS[heading] if block[0] == "traceql"]
    now = int(time.time())
    answer = tactus.get("/api/metrics/query", q=query, start=now - 600, end=now + 60)
    assert answer.status_code == 200, answer.text
    (series,) = answer.json()["series"]
    assert series["labels"] == [{"key": "resource.service.name", "value": {"stringValue": "billing"}}]
    assert series["value"] > 0


# --- collectors -------------------------------------------------------------------------------------------------------

COLLECTORS = files("A collector in front")


class Collector(Program):
    """A collector with a configuration of the page. `hosts`: server by the name that the page has for it. `files`: path by the
    path that the page has for it."""

    title = "the collector"

    def __init__(self, name, folder, hosts, files=None):
        program = need("the OpenTelemetry collector", COLLECTOR)
        text = COLLECTORS[name]
        for host, server in hosts.items():
            text = re.sub(rf"\b{host}:\d+", lambda found: with_ports(found[0], ports_of(server)), text)
            text = re.sub(rf"\b{host}:(\d+)", r"127.0.0.1:\1", text)
        for path, own in (files or {}).items():
            assert path in text
            text = text.replace(path, str(own))
        self.ports = {}
        for port in map(int, re.findall(r"\b0\.0\.0\.0:(\d+)", text)):
            (self.ports[port],) = free_ports(1)
        text = re.sub(r"\b0\.0\.0\.0:(\d+)", lambda match: f"127.0.0.1:{self.ports[int(match[1])]}", text)
        # Its own metrics have a port that every collector wants.
        text = re.sub(r"^service:\n", "service:\n  telemetry: {metrics: {level: none}}\n", text, flags=re.MULTILINE)
        path = folder / name
        path.write_text(text)
        super().__init__(folder / "collector.log")
        self.run([program, f"--config=file:{path}"])

    def post(self, port, path, **kwargs):
        """Sends what is given to one of its ports, as the page numbers them, once it listens."""
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        answer = self.until(lambda: requests.post(url, timeout=10, **kwargs), f"the collector takes what comes to {path}")
        assert answer.status_code in (200, 202), (answer.status_code, answer.text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def found(server, trace_id, headers=None):
    return eventually(
        lambda: server.get(f"/api/traces/{trace_id}", headers=headers).status_code == 200, f"{trace_id} is there")


def jaeger_batch():
    """A trace id, and a Thrift batch with a span of it."""
    low = os.urandom(8)
    batch = dialects.BATCH.replace(bytes.fromhex(dialects.TRACE_LOW), low)
    return f"{1:016x}{low.hex()}", batch + b"\0"


def test_collector_hands_on_what_all_clients_send(tactus, tmp_path):
    with Collector("collector.yaml", tmp_path, {"tactus": tactus}) as collector:
        span = otlp.span()
        collector.post(4318, "/v1/traces", data=otlp.export(span).SerializeToString(),
                       headers={"Content-Type": "application/x-protobuf"})
        trace_id, batch = jaeger_batch()
        collector.post(14268, "/api/traces", data=batch, headers={"Content-Type": "application/vnd.apache.thrift.binary"})
        zipkin = os.urandom(16).hex()
        collector.post(9411, "/api/v2/spans", json=[{
            "traceId": zipkin, "id": "00000000000000bb", "name": "get", "timestamp": time.time_ns() // 1000, "duration": 5,
            "localEndpoint": {"serviceName": "shop"}}])
        for each in (span.trace_id.hex(), trace_id, zipkin):
            found(tactus, each)


def test_collector_sends_for_a_tenant_over_http(servers, tmp_path):
    server = dialects.start(servers, extra={"multitenancy_enabled": True})
    with Collector("collector-http.yaml", tmp_path, {"tactus": server}) as collector:
        span = otlp.span()
        collector.post(4318, "/v1/traces", data=otlp.export(span).SerializeToString(),
                       headers={"Content-Type": "application/x-protobuf"})
        found(server, span.trace_id.hex(), {"X-Scope-OrgID": "team-a"})
    assert server.get(f"/api/traces/{span.trace_id.hex()}", headers={"X-Scope-OrgID": "team-b"}).status_code == 404


def test_collector_shows_a_token_over_tls(servers, tmp_path):
    certificates = Certificates(tmp_path)
    users = tmp_path / "users.yaml"
    users.write_text(yaml.safe_dump({"users": [
        {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "tenants": ["team-a"], "roles": [role]}
        for name, role in (("collector", "write"), ("grafana", "read"))]}))
    tls = {"tls": {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}}
    server = dialects.start(servers, extra={
        "multitenancy_enabled": True, "auth": {"enabled": True, "users_file": str(users)},
        "distributor": {"receivers": {"otlp": {"protocols": {"grpc": tls}}}}})
    token = tmp_path / "token"
    token.write_text("collector")
    files = {"/etc/otelcol/ca.crt": certificates.authority, "/etc/otelcol/token": token}
    with Collector("collector-tls.yaml", tmp_path, {"tactus": server}, files) as collector:
        span = otlp.span()
        collector.post(4318, "/v1/traces", data=otlp.export(span).SerializeToString(),
                       headers={"Content-Type": "application/x-protobuf"})
        found(server, span.trace_id.hex(), {"Authorization": "Bearer grafana"})


def test_collector_sends_to_both_while_one_does_not_answer(servers, tactus, tmp_path):
    jaeger = dialects.start(servers, "jaeger")
    with Collector("collector-both.yaml", tmp_path, {"jaeger": jaeger, "tactus": tactus}) as collector:
        def send():
            trace_id, batch = jaeger_batch()
            collector.post(14268, "/api/traces", data=batch, headers={"Content-Type": "application/vnd.apache.thrift.binary"})
            return trace_id

        before = send()
        found(tactus, before)
        found(jaeger, before)
        jaeger.kill()
        found(tactus, send())

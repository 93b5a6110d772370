"""Spans of clients as they are: SDKs of OpenTelemetry, Jaeger and Zipkin, in three languages, old and new, and Jaeger's agent."""

import pytest
import requests

from harness import answers, dialects
from harness.dialects import go, node, python
from harness.ports import free_ports
from harness.program import Program
from harness.servers import Servers
from harness.tools import need
from harness.waiting import eventually

ERROR, SERVER, CLIENT = "STATUS_CODE_ERROR", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"


@pytest.fixture(scope="module")
def tactus(tmp_path_factory):
    group = Servers(tmp_path_factory.mktemp("clients"))
    yield dialects.start(group)
    group.close()


# (who, sends and returns a trace id, service, root span, child span)
SENDERS = {
    "python jaeger-client, UDP": (
        lambda p: python("jaeger_client_sender.py", "127.0.0.1", p.compact), "python-jaeger-client", "GET /users", "query"),
    "python OpenTelemetry, Jaeger UDP": (
        lambda p: python("otel_sender.py", "jaeger-udp", "127.0.0.1", p.compact), "python-jaeger-udp", "get_users", "database_query"),
    "python OpenTelemetry, Jaeger HTTP": (
        lambda p: python("otel_sender.py", "jaeger-http", "127.0.0.1", p.thrift_http), "python-jaeger-http", "get_users", "database_query"),
    "python OpenTelemetry, Zipkin": (
        lambda p: python("otel_sender.py", "zipkin", "127.0.0.1", p.zipkin), "python-zipkin", "get_users", "database_query"),
    "py_zipkin, v1 JSON": (
        lambda p: python("py_zipkin_sender.py", "v1-json", "127.0.0.1", p.zipkin), "py-zipkin-v1-json", "get /users", "select"),
    "py_zipkin, v2 JSON": (
        lambda p: python("py_zipkin_sender.py", "v2-json", "127.0.0.1", p.zipkin), "py-zipkin-v2-json", "get /users", "select"),
    "py_zipkin, v2 protobuf": (
        lambda p: python("py_zipkin_sender.py", "v2-proto", "127.0.0.1", p.zipkin), "py-zipkin-v2-proto", "get /users", "select"),
    # It writes Thrift binary, and is configured with the port of Thrift compact in most of its guides.
    "node jaeger-client, UDP": (
        lambda p: node("jaeger_client.js", "udp", "127.0.0.1", p.compact), "node-jaeger-client-udp", "GET /users", "call"),
    "node jaeger-client, UDP to the binary port": (
        lambda p: node("jaeger_client.js", "udp", "127.0.0.1", p.binary), "node-jaeger-client-udp", "GET /users", "call"),
    "node jaeger-client, HTTP": (
        lambda p: node("jaeger_client.js", "http", "127.0.0.1", p.thrift_http), "node-jaeger-client-http", "GET /users", "call"),
    "node OpenTelemetry, Jaeger UDP": (
        lambda p: node("otel.js", "jaeger-udp", "127.0.0.1", p.binary), "node-jaeger-udp", "GET /cart", "SELECT"),
    "node OpenTelemetry, Jaeger HTTP": (
        lambda p: node("otel.js", "jaeger-http", "127.0.0.1", p.thrift_http), "node-jaeger-http", "GET /cart", "SELECT"),
    "node OpenTelemetry, Zipkin": (
        lambda p: node("otel.js", "zipkin", "127.0.0.1", p.zipkin), "node-zipkin", "GET /cart", "SELECT"),
    "zipkin-js, v2": (
        lambda p: node("zipkin.js", f"http://127.0.0.1:{p.zipkin}/api/v2/spans", "v2"), "zipkin-js-v2", "get /orders", "select"),
    "zipkin-js, its default encoding to the path of v2": (
        lambda p: node("zipkin.js", f"http://127.0.0.1:{p.zipkin}/api/v2/spans", "default"), "zipkin-js-default", "get /orders", "select"),
    "zipkin-js, v1": (
        lambda p: node("zipkin.js", f"http://127.0.0.1:{p.zipkin}/api/v1/spans", "v1"), "zipkin-js-v1", "get /orders", "select"),
    "go OpenTelemetry, Jaeger UDP": (lambda p: go("jaeger-udp", p.compact), "go-jaeger-udp", "get_users", "database_query"),
    "go OpenTelemetry, Jaeger HTTP": (lambda p: go("jaeger-http", p.thrift_http), "go-jaeger-http", "get_users", "database_query"),
    "go OpenTelemetry, Zipkin": (lambda p: go("zipkin", p.zipkin), "go-zipkin", "get_users", "database_query"),
}


def stored(server, trace_id):
    """The JSON of a trace once its two spans are there (UDP tells nobody when)."""
    def both():
        response = server.get(f"/api/v2/traces/{trace_id}")
        trace = response.json().get("trace", {}) if response.status_code == 200 else {}
        return trace if len(answers.spans(trace)) == 2 else None

    return eventually(both, f"both spans of {trace_id}")


@pytest.mark.parametrize("who", SENDERS)
def test_what_a_client_sends_is_stored_and_every_api_finds_it(tactus, who):
    send, service, root_name, child_name = SENDERS[who]
    trace_id = send(tactus.ports)
    trace = stored(tactus, trace_id)
    spans = {span["name"]: span for _, span in answers.spans(trace)}
    assert set(spans) == {root_name, child_name}
    root, child = spans[root_name], spans[child_name]
    assert child["parentSpanId"] == root["spanId"]
    assert not root.get("parentSpanId")
    assert root["kind"] == SERVER
    assert int(root["startTimeUnixNano"]) <= int(child["startTimeUnixNano"]) <= int(child["endTimeUnixNano"])
    assert service in {resource.get("service.name") for resource in answers.resources(trace)}
    # One of the two has failed in each of them.
    assert ERROR in {span.get("status", {}).get("code") for span in spans.values()}, spans

    jaeger = requests.get(f"http://127.0.0.1:{tactus.ports.query_http}/api/traces/{trace_id}", timeout=10).json()
    (found,) = jaeger["data"]
    assert {span["operationName"] for span in found["spans"]} == {root_name, child_name}
    assert found["duration"] >= 0
    zipkin = requests.get(f"http://127.0.0.1:{tactus.ports.zipkin}/api/v2/trace/{trace_id}", timeout=10).json()
    assert {span["name"] for span in zipkin} == {root_name.lower(), child_name.lower()}


def test_details_survive_the_way_through_thrift(tactus):
    trace = stored(tactus, SENDERS["python jaeger-client, UDP"][0](tactus.ports))
    spans = {span["name"]: span for _, span in answers.spans(trace)}
    root = spans["GET /users"]
    assert answers.attribute(root, "http.status_code") == ("intValue", "500")
    assert answers.attribute(root, "sampler.type") == ("stringValue", "const")
    assert answers.attribute(root, "error") is None
    (event,) = root["events"]
    assert event["name"] == "error"
    assert answers.attribute(event, "message") == ("stringValue", "no such user")
    assert answers.attribute(spans["query"], "user.count") == ("intValue", "100")
    (resource,) = answers.resources(trace)
    assert {"host.name", "ip"} <= set(resource)


def test_status_of_http_from_javascript_fails_a_span_without_an_error_tag(tactus):
    """JavaScript has doubles alone."""
    trace = stored(tactus, SENDERS["node jaeger-client, UDP"][0](tactus.ports))
    spans = {span["name"]: span for _, span in answers.spans(trace)}
    assert answers.attribute(spans["call"], "http.status_code") == ("doubleValue", 503)
    assert spans["call"]["status"]["code"] == ERROR


def test_metrics_name_the_receiver_and_its_transport(tactus):
    SENDERS["go OpenTelemetry, Jaeger HTTP"][0](tactus.ports)
    SENDERS["py_zipkin, v2 protobuf"][0](tactus.ports)
    samples = tactus.metrics()
    for labels in ('receiver="jaeger/jaeger_receiver",transport="collector_http"', 'receiver="zipkin/zipkin_receiver",transport="http_v2_proto"'):
        assert samples[f"tempo_receiver_accepted_spans{{{labels}}}"] > 0, [k for k in samples if "accepted_spans" in k]


class Agent(Program):
    """Jaeger's agent in front of a server."""

    title = "the agent"

    def __init__(self, server, directory):
        self.compact, self.binary = free_ports(2)
        self.http, admin = free_ports(2)
        super().__init__(directory / "agent.log")
        self.run(
            [need("jaeger-agent", dialects.JAEGER_AGENT), f"--reporter.grpc.host-port=127.0.0.1:{server.ports.jaeger_grpc}",
             f"--processor.jaeger-compact.server-host-port=127.0.0.1:{self.compact}",
             f"--processor.jaeger-binary.server-host-port=127.0.0.1:{self.binary}",
             "--processor.zipkin-compact.server-host-port=127.0.0.1:0",
             f"--http-server.host-port=127.0.0.1:{self.http}", f"--admin.http.host-port=127.0.0.1:{admin}"])
        try:
            self.until(lambda: requests.get(f"http://127.0.0.1:{admin}/", timeout=2).status_code == 200, "the agent is up")
        except BaseException:
            self.close()
            raise


@pytest.fixture(scope="module")
def agent(tactus, tmp_path_factory):
    agent = Agent(tactus, tmp_path_factory.mktemp("agent"))
    yield agent
    agent.close()


def test_jaegers_agent_hands_spans_on(tactus, agent):
    trace_id = python("jaeger_client_sender.py", "127.0.0.1", agent.compact)
    trace = stored(tactus, trace_id)
    assert {span["name"] for _, span in answers.spans(trace)} == {"GET /users", "query"}


def test_jaegers_agent_asks_for_sampling(tactus, agent):
    answer = requests.get(f"http://127.0.0.1:{agent.http}/sampling", params={"service": "anything"}, timeout=10)
    assert answer.status_code == 200, answer.text
    own = requests.get(f"http://127.0.0.1:{tactus.ports.sampling_http}/sampling", params={"service": "anything"}, timeout=10)
    assert answer.json()["strategyType"] == own.json()["strategyType"] == "PROBABILISTIC"
    assert answer.json()["probabilisticSampling"] == own.json()["probabilisticSampling"]

"""The Helm chart at work: its pods as processes, behind its gateway, and its script that restarts zones."""
import json
import os
import stat
import subprocess
import sys

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from harness import otlp
from harness.helm import CHART, FULLNAME
from harness.helm_pods import Pods
from harness.tools import need
from harness.waiting import eventually

ALICE, NOBODY = ("alice", "correct horse"), ("nobody", "correct horse")
# Names that differ in case, or mean something in a map of nginx.
TENANTS = {"alice": "team-a", "Alice": "team-b", "default": "team-c", "hostnames": "team-d", "~.*": "team-e", r"\\a": "team-f", '"$host': "team-g"}


@pytest.fixture(scope="module")
def pods(tmp_path_factory, s3_server):
    """Services by themselves, ingesters in three zones, users with tenants at the gateway."""
    need("nginx")
    values = {
        "mode": "distributed", "multitenancyEnabled": True, **s3_server.new_bucket().config(),
        "ingester": {"zoneAwareReplication": {"enabled": True}, "config": {"trace_idle_period": "1s"}},
        "distributor": {"replicas": 1}, "queryFrontend": {"replicas": 1}, "querier": {"replicas": 1},
        "gateway": {
            "enabled": True, "tenants": TENANTS,
            "basicAuth": {"enabled": True, "username": ALICE[0], "password": ALICE[1]}}}
    with Pods(tmp_path_factory.mktemp("pods"), values) as started:
        started.start()
        (gateway,) = started.component("gateway")
        with open(gateway.directory / ".htpasswd", "a", encoding="utf-8") as users:
            line = (gateway.directory / ".htpasswd").read_text()
            users.writelines(line.replace(ALICE[0], user) for user in [*TENANTS, NOBODY[0]])
        # Pods are ready a moment before all of them know each other; clients send again what is refused with 503.
        first = otlp.export(otlp.span(name="first"))
        eventually(lambda: push(started, first).status_code == 200, "the distributor knows its ingesters")
        yield started


def push(pods, request, user=ALICE, path="/v1/traces", **headers):
    return requests.post(
        pods.gateway + path, data=request.SerializeToString(), auth=user, timeout=30,
        headers={"Content-Type": "application/x-protobuf", **headers})


def search(pods, query, user=ALICE, **headers):
    response = requests.get(f"{pods.gateway}/api/search", params={"q": query}, auth=user, headers=headers, timeout=30)
    assert response.status_code == 200, (response.status_code, response.text)
    return [trace["traceID"].rjust(32, "0") for trace in response.json()["traces"]]


def test_spans_and_queries_go_through_the_gateway(pods):
    for number, path in enumerate(("/v1/traces", "/otlp/v1/traces")):
        span = otlp.span(name=f"through the gateway {number}")
        response = push(pods, otlp.export(span), path=path)
        assert response.status_code == 200, response.text
        query = f'{{ name = "through the gateway {number}" }}'
        assert eventually(lambda query=query: search(pods, query), "the trace is found") == [span.trace_id.hex()]
        answer = requests.get(f"{pods.gateway}/api/traces/{span.trace_id.hex()}", auth=ALICE, timeout=30)
        assert answer.status_code == 200 and span.name in answer.text


def test_spans_go_through_the_gateway_by_grpc(pods):
    span = otlp.span(name="by gRPC")
    token = requests.auth._basic_auth_str(*ALICE)
    with grpc.insecure_channel(f"{pods.gateway[7:].rsplit(':', 1)[0]}:{pods.gateway_grpc}") as channel:
        service = trace_service_pb2_grpc.TraceServiceStub(channel)
        service.Export(otlp.export(span), metadata=[("authorization", token)], timeout=30)
        with pytest.raises(grpc.RpcError):
            service.Export(otlp.export(otlp.span()), timeout=30)
    assert eventually(lambda: search(pods, '{ name = "by gRPC" }'), "the trace is found") == [span.trace_id.hex()]


def test_gateway_asks_for_passwords_and_decides_the_tenant(pods):
    request = otlp.export(otlp.span(name="whose"))
    assert push(pods, request, user=None).status_code == 401
    assert push(pods, request, user=("alice", "wrong")).status_code == 401
    assert push(pods, request, **{"X-Scope-OrgID": "team-b"}).status_code == 200
    query = '{ name = "whose" }'
    assert len(eventually(lambda: search(pods, query), "it is team-a's, whatever the header said")) == 1
    (distributor,), (frontend,) = pods.component("distributor"), pods.component("query-frontend")
    assert distributor and frontend
    asked = requests.get(
        f"http://{frontend.address}:{pods.http}/api/search", params={"q": query}, headers={"X-Scope-OrgID": "team-b"}, timeout=30)
    assert asked.status_code == 200 and asked.json()["traces"] == []
    refused = requests.get(f"{pods.gateway}/api/search", params={"q": query}, auth=NOBODY, headers={"X-Scope-OrgID": "team-a"}, timeout=30)
    assert refused.status_code == 401 and "org id" in refused.text


def test_every_user_has_the_tenant_of_exactly_that_name(pods):
    for user, tenant in TENANTS.items():
        assert push(pods, otlp.export(otlp.span(name=f"of {tenant}")), user=(user, ALICE[1])).status_code == 200, user
    for user, tenant in TENANTS.items():
        def found(user=user):
            answer = requests.get(f"{pods.gateway}/api/search", params={"q": '{ name =~ "of team-.*" }'}, auth=(user, ALICE[1]), timeout=30)
            return {trace["rootTraceName"] for trace in answer.json()["traces"]}

        assert eventually(found, f"the trace of {user} is found") == {f"of {tenant}"}


def test_gateway_shows_pages_and_no_operations(pods):
    page = requests.get(f"{pods.gateway}/ui/", auth=ALICE, timeout=30)
    assert page.status_code == 200 and "<html" in page.text.lower()
    assert requests.get(f"{pods.gateway}/api/echo", auth=ALICE, timeout=30).text.strip() == "echo"
    for path in ("/flush", "/shutdown", "/ingester/ring", "/metrics", "/status/config"):
        assert requests.get(pods.gateway + path, auth=ALICE, timeout=30).status_code == 404, path
    assert requests.get(pods.gateway, timeout=30).text == "OK\n"


def test_ingesters_are_in_their_zones_and_one_zone_may_fail(pods):
    (distributor,) = pods.component("distributor")
    page = requests.get(
        f"http://{distributor.address}:{pods.http}/ingester/ring", headers={"Accept": "application/json"}, timeout=30)
    zones = {shard["id"]: shard["zone"] for shard in page.json()["shards"]}
    assert zones == {f"{FULLNAME}-ingester-zone-{zone}-0": f"zone-{zone}" for zone in "abc"}
    lost = pods.pods[f"{FULLNAME}-ingester-zone-b-0"]
    lost.kill()
    span = otlp.span(name="with two zones")
    response = eventually(lambda: (r := push(pods, otlp.export(span))).status_code == 200 and r, "two zones are enough to write")
    assert response.status_code == 200
    assert eventually(lambda: search(pods, '{ name = "with two zones" }'), "and to read") == [span.trace_id.hex()]


# --- one zone after another ------------------------------------------------------------------------------------------

# Answers like kubectl from a file of StatefulSets and their pods. A deleted pod is there again with the newest revision after some looks, and ready
# after some more, unless that revision is broken.
KUBECTL = r"""#!PYTHON -ISs
import json, os, sys
root = os.environ["FAKE_CLUSTER"]
words = sys.argv[1:]
with open(root + "/calls", "a") as calls:
    calls.write(" ".join(w for w in words if not w.startswith("jsonpath")) + "\n")
assert words[:2] == ["--namespace", "tracing"], words
with open(root + "/state.json") as file:
    state = json.load(file)
for zone in state.values():
    for pod in zone["pods"].values():
        if pod["looks"] > 0 and words[2] == "get":
            pod["looks"] -= 1
        if pod["looks"] == 0 and pod["revision"] not in zone["broken"]:
            pod["ready"] = True
down = [name for name, zone in state.items() if not all(pod["ready"] for pod in zone["pods"].values())]
with open(root + "/down", "a") as seen:
    seen.write(",".join(sorted(down)) + "\n")
if words[2:4] == ["get", "statefulsets"]:
    assert words[words.index("--selector") + 1] == "app=tactus"
    for name, zone in sorted(state.items()):
        print(name, name, len(zone["pods"]), 2, 2, zone["revision"], sep="|")
elif words[2:4] == ["get", "statefulset"]:
    print(state[words[4]]["revision"] if "updateRevision" in words[-1] else words[4], end="")
elif words[2:4] == ["get", "pods"]:
    with open(root + "/calls") as calls:
        if sum(" get pods " in call for call in calls) == int(os.environ.get("REFUSED_LIST", 0)):
            sys.exit("The connection to the server 10.0.0.1:443 was refused - did you specify the right host or port?")
    zone = words[words.index("--selector") + 1].removeprefix("app=tactus,zone=")
    for name, pod in state[zone]["pods"].items():
        if pod["looks"] <= 5:
            print(name, pod["revision"], pod["ready"], "", sep="|")
elif words[2:4] == ["delete", "pod"]:
    for name in words[4:]:
        for zone in state.values():
            if name in zone["pods"]:
                zone["pods"][name] = {"revision": zone["revision"], "ready": False, "looks": 10}
else:
    sys.exit(f"what is {words}?")
with open(root + "/state.json", "w") as file:
    json.dump(state, file)
"""


class Zones:
    """Three zones of two pods, of which the first `updated` are of the newest revision; a broken revision does not get ready."""

    def __init__(self, directory, updated=0, broken=(), down=()):
        self.directory = directory
        program = directory / "kubectl"
        program.write_text(KUBECTL.replace("PYTHON", sys.executable, 1))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.state = {
            zone: {"revision": "new", "broken": list(broken), "pods": {
                f"{zone}-{number}": {"revision": "new" if index < updated else "old", "ready": zone not in down,
                                     "looks": -1 if zone in down else 0}
                for number in range(2)}}
            for index, zone in enumerate(("zone-a", "zone-b", "zone-c"))}
        (directory / "state.json").write_text(json.dumps(self.state))

    def roll(self, seconds=60, refused_list=0):
        """`refused_list`: which list of pods the API server refuses, from one."""
        env = {
            **os.environ, "FAKE_CLUSTER": str(self.directory), "REFUSED_LIST": str(refused_list),
            "PATH": f"{self.directory}:{os.environ['PATH']}", "ROLL_ZONES_PAUSE": "0"}
        return subprocess.run(
            ["sh", CHART / "files" / "roll-zones.sh", "tracing", "app=tactus", str(seconds)], env=env, capture_output=True, text=True,
            timeout=120)

    def deleted(self):
        calls = (self.directory / "calls").read_text().splitlines()
        return [call.split()[4:-1] for call in calls if " delete " in call]

    def down(self):
        return {line for line in (self.directory / "down").read_text().splitlines() if line}


def test_zones_are_restarted_one_after_another(tmp_path):
    zones = Zones(tmp_path)
    done = zones.roll()
    assert done.returncode == 0, done.stdout + done.stderr
    assert zones.deleted() == [[f"zone-{zone}-0", f"zone-{zone}-1"] for zone in "abc"]
    assert zones.down() == {"zone-a", "zone-b", "zone-c"}, "never two at a time"
    again = zones.roll()
    assert again.returncode == 0 and len(zones.deleted()) == 3, "nothing is left to do"


@pytest.mark.parametrize("refused", range(1, 12))
def test_a_zone_is_not_up_to_date_because_its_pods_cannot_be_listed(tmp_path, refused):
    zones = Zones(tmp_path)
    done = zones.roll(refused_list=refused)
    assert done.returncode != 0 or len(zones.deleted()) == 3, done.stdout
    assert zones.down() <= {"zone-a", "zone-b", "zone-c"}, "never two at a time"


def test_a_rollout_goes_on_where_it_was(tmp_path):
    zones = Zones(tmp_path, updated=2)
    assert zones.roll().returncode == 0
    assert zones.deleted() == [["zone-c-0", "zone-c-1"]]


def test_a_revision_that_does_not_start_stops_at_its_first_zone(tmp_path):
    zones = Zones(tmp_path, broken=["new"])
    done = zones.roll(seconds=1)
    assert done.returncode == 1 and "nothing more was restarted" in done.stderr
    assert zones.deleted() == [["zone-a-0", "zone-a-1"]]


def test_a_correction_begins_with_the_zone_that_does_not_start(tmp_path):
    zones = Zones(tmp_path, broken=["old"], down=["zone-b"])
    done = zones.roll()
    assert done.returncode == 0, done.stderr
    assert [pods[0] for pods in zones.deleted()] == ["zone-b-0", "zone-a-0", "zone-c-0"]
    assert zones.down() == {"zone-a", "zone-b", "zone-c"}


def test_two_zones_that_are_down_are_not_touched(tmp_path):
    zones = Zones(tmp_path, down=["zone-a", "zone-c"], broken=["old"])
    done = zones.roll(seconds=1)
    assert done.returncode == 1
    assert zones.deleted() == []


def test_labels_that_select_nothing_are_an_error(tmp_path):
    zones = Zones(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    done = zones.roll()
    assert done.returncode == 1 and "no StatefulSets have the labels" in done.stderr

"""Random spans under random settings: the generator makes of them what its rules say, series for series."""
import concurrent.futures
import math
import random
import re
import time

import requests
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from harness import otlp
from harness.generator_rules import (
    CLIENT, CONSUMER, ERROR, INTRINSICS, KINDS, PRODUCER, SERVER, STATUSES, Pushed, generated, label_of, series,
)
from harness.waiting import eventually

TENANTS, SPANS, WAIT = 16, 90, 15
PROCESSORS = [
    ["span-metrics"], ["service-graphs"], ["span-metrics", "service-graphs"], ["span-metrics", "service-graphs", "host-info"],
    ["span-metrics-count", "service-graphs", "host-info"], ["span-metrics-latency"], ["span-metrics-size", "span-metrics-count"],
]
# Names that rules tell of, and that become the same as other labels.
KEYS = [
    "k1", "k.1", "k-2", "env", "ratio", "region", "span.kind", "status.code", "service", "job", "instance", "client", "server",
    "virtual_node", "peer.service", "db.name", "db.system", "db.namespace", "server.address", "network.peer.address",
    "network.peer.port", "host.id", "k8s.node.name",
]
VALUES = ["a", "b", "", "x y", 1, 2, 0.5, 0.25, True, False, ["p", "q"], {"k": "v"}, b"zz", -1, 1e21, 0.1]
CONDITIONS = {
    "kind": KINDS, "status": STATUSES, "name": ["a", "b", ""],
    **{f"{scope}.{key}": ["a", "b", "", 1, 2, 0.5, True, False]
       for scope, key in (("span", "env"), ("span", "k1"), ("resource", "env"), ("resource", "service.name"), ("span", "ratio"))},
}
PATTERNS = ["a", "S.*ER", "^a$", "a|b", ".*", "OK|ERR", "^$"]


# --- settings --------------------------------------------------------------------------------------------------------

def policy_side(dice):
    match_type, keys = dice.choice(["strict", "regex"]), dice.choices(list(CONDITIONS), k=dice.choice([0, 1, 1, 2]))
    values = {key: dice.choice(CONDITIONS[key] if match_type == "strict" else PATTERNS) for key in keys}
    return {"match_type": match_type, "attributes": [{"key": key, "value": value} for key, value in values.items()]}


def policies(dice):
    sides = ("include", "exclude", "include_any")
    return [{side: policy_side(dice) for side in dice.sample(sides, dice.choice([1, 1, 2]))}
            for _ in range(dice.choice([0, 0, 0, 1, 2]))]


def some_keys(dice, most):
    return dice.sample([*KEYS, "service.name", "service.namespace"], dice.randint(0, most))


def both_processors(dice):
    return {
        "filter_policies": policies(dice), "dimensions": some_keys(dice, 4), "span_multiplier_key": dice.choice(["", "ratio"]),
        "enable_tracestate_span_multiplier": dice.random() < 0.3,
    }


def of_spans(dice):
    settings = both_processors(dice)
    taken, mappings = {label_of(key) for key in settings["dimensions"]}, []
    for name in dice.sample(["who", "m.x", "status.message", "k3"], dice.choice([0, 0, 1, 2])):
        if label_of(name) not in taken:
            mappings.append({"name": name, "source_labels": some_keys(dice, 3) or ["env"], "join": dice.choice(["", "/", "-"])})
    own_buckets = {"histogram_buckets": [0.01, 0.1, 1.0, 3.0]} if dice.random() < 0.2 else {}
    return {
        **settings, **own_buckets, "dimension_mappings": mappings, "target_info_excluded_dimensions": some_keys(dice, 3),
        "intrinsic_dimensions": {key: dice.random() < 0.5 for key in INTRINSICS if dice.random() < 0.3},
        "enable_target_info": dice.random() < 0.4, "enable_instance_label": dice.random() < 0.7,
    }


def of_edges(dice):
    own_buckets = {"histogram_buckets": [0.05, 0.5]} if dice.random() < 0.2 else {}
    switches = ("enable_client_server_prefix", "enable_virtual_node_label", "enable_messaging_system_latency_histogram")
    peers = [["peer.service", "db.name", "db.system"], ["k1", "peer.service"], ["env"]]
    return {**both_processors(dice), **own_buckets, "peer_attributes": dice.choice(peers),
            **{switch: dice.random() < 0.5 for switch in switches}}


def settings_of(dice):
    hosts = dice.choice([["k8s.node.name", "host.id"], ["env"], ["host.id"]])
    return dice.choice(PROCESSORS), of_spans(dice), of_edges(dice), hosts


# --- spans -----------------------------------------------------------------------------------------------------------

def attributes(dice, most):
    return {key: dice.choice(VALUES) for key in dice.sample(KEYS, dice.randint(0, most))}


def resource(dice):
    more = [("service.name", ["a", "b", "c", "", 7, "svc"], 0.9), ("service.namespace", ["ns", "", 3], 0.4),
            ("service.instance.id", ["i1", ""], 0.4)]
    pairs = [*attributes(dice, 5).items(), *((key, dice.choice(values)) for key, values, often in more if dice.random() < often)]
    dice.shuffle(pairs)
    if dice.random() < 0.9:  # else every call of it is to a database
        pairs = [(key, value) for key, value in pairs if not key.startswith("db.")]
    return dict(pairs)


def spans(dice, now):
    """In the order they come: most have a parent among those near them, and some come twice."""
    resources, traces, out = [resource(dice) for _ in range(5)], [dice.randbytes(16) for _ in range(4)], []
    lengths = [0, 10**6, 2 * 10**6, 10**8, 250 * 10**6, 1024 * 10**6, 2 * 10**9, -(10**8)]
    for number in range(1, SPANS + 1):
        above = dice.choice(out[-12:]) if out and dice.random() < 0.75 else None
        answers = above and dice.random() < 0.6 and {CLIENT: SERVER, PRODUCER: CONSUMER}.get(above.kind)
        start = now - 3 * 10**9 - dice.randrange(5 * 10**9)
        one = Pushed(
            trace=above.trace if above else dice.choice(traces), id=number.to_bytes(8), parent=above.id if above else b"",
            name=dice.choice(["a", "b", "op x", ""]), kind=answers or dice.choice([*range(6), CLIENT, CLIENT]),
            status=dice.choice([0, 0, 1, ERROR]), message=dice.choice(["", "boom"]), start=start, end=start + dice.choice(lengths),
            state=dice.choice(["", "", "ot=th:8", "a=b,ot=th:c;rv:0", "ot=th:zz"]),
            attributes={**attributes(dice, 4), **({"peer.service": "peer"} if dice.random() < 0.3 else {})}, resource=dice.choice(resources))
        out += [one] * (2 if dice.random() < 0.05 else 1)
    places = {index: index + dice.uniform(0, 10) for index in range(len(out))}
    return [out[index] for index in sorted(places, key=places.get)]


def export(one):
    span = otlp.Span(
        trace_id=one.trace, span_id=one.id, parent_span_id=one.parent, name=one.name, kind=one.kind, trace_state=one.state,
        start_time_unix_nano=one.start, end_time_unix_nano=one.end, attributes=otlp.key_values(one.attributes),
        status=Status(code=one.status, message=one.message))
    one.size = span.ByteSize()
    request = otlp.ExportTraceServiceRequest()
    request.resource_spans.add().resource.attributes.extend(otlp.key_values(one.resource))
    request.resource_spans[0].scope_spans.add().spans.append(span)
    return request


# --- what came of it -------------------------------------------------------------------------------------------------

def on_page(server, tenant):
    page = server.get("/metrics/generated", accept="application/openmetrics-text", headers={"X-Scope-OrgID": tenant}).text
    out = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (\S+)", line.split(" # ")[0]).groups()
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            assert labels.pop("__metrics_gen_instance")
            out[series(name, labels)] = float(value)
    return out


def differences(wanted, found):
    return [(key, wanted.get(key), found.get(key)) for key in sorted({*wanted, *found})
            if not math.isclose(wanted.get(key, math.nan), found.get(key, math.nan), rel_tol=1e-9, abs_tol=1e-12)]


def test_random_spans_become_what_the_rules_say(servers, tmp_path):
    seed = random.randrange(2**32)
    print("seed", seed)
    settings = {f"t{number}": settings_of(random.Random(f"{seed} settings {number}")) for number in range(TENANTS)}
    overrides = tmp_path / "overrides.yaml"
    # With one worker spans are worked on in the order they came.
    overrides.write_text(yaml.safe_dump({"overrides": {tenant: {
        "ingestion": {"rate_limit_bytes": 10**9, "burst_size_bytes": 10**9},
        "metrics_generator": {
            "processors": processors, "forwarder": {"workers": 1, "queue_size": 100_000},
            "processor": {"span_metrics": spans_, "service_graphs": edges, "host_info": {"host_identifiers": hosts}}},
    } for tenant, (processors, spans_, edges, hosts) in settings.items()}}))
    server = servers.start(config={
        "multitenancy_enabled": True, "overrides": {"per_tenant_override_config": str(overrides)},
        "metrics_generator": {"storage": {"path": str(tmp_path / "generator")}, "processor": {"service_graphs": {"wait": f"{WAIT}s"}}},
    })

    def push(tenant):
        begun, pushed = time.time(), spans(random.Random(f"{seed} spans {tenant}"), time.time_ns())
        with requests.Session() as session:
            for one in pushed:
                session.post(
                    f"{server.otlp_url}/v1/traces", data=export(one).SerializeToString(), timeout=30,
                    headers={"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant}).raise_for_status()
        assert time.time() - begun < WAIT - 3, "too slow: no call may be given up before all spans have come"
        return pushed

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pushed = dict(zip(settings, pool.map(push, settings)))
    time.sleep(WAIT)  # calls wait so long for their other side
    told = 0
    for tenant, of_tenant in settings.items():
        wanted = generated(pushed[tenant], *of_tenant)
        try:
            eventually(lambda: not differences(wanted, on_page(server, tenant)), f"the series of {tenant}", 20)
        except AssertionError:
            print(of_tenant, *differences(wanted, on_page(server, tenant))[:20], sep="\n")
            raise
        told += len(wanted)
    assert told > 100 * TENANTS, told

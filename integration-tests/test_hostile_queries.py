"""Queries that take long: they hold up nobody else's pushes and searches, and end when nobody waits for them."""
import json
import os
import random
import threading
import time

import grpc
import pytest
import requests
from google.protobuf.timestamp_pb2 import Timestamp

from harness import dialects, jaeger, otlp
from harness.clients import at_once
from harness.honest import Honest
from harness.streaming import StreamingClient
from harness.waiting import eventually

HOSTILE = {"X-Scope-OrgID": "hostile"}
MOST_SECONDS_AFTER_THE_CLIENT = 5.0
RUNNING = "tactus_ingester_queries_running"
SECONDS_OF_AN_ATTACK = 30
MOST_SECONDS_BESIDE_A_CROWD = 5.0

# Each of its matches takes a step for nearly each of its states and byte of a text.
SLOW_PATTERN = "(?:[ab]*a[ab]{700})c"


def chain(part, count, operator=" || "):
    return "{ " + operator.join(part.replace("#", str(number)) for number in range(count)) + " }"


# What the server may say to an attacker: an answer, that the query is wrong or too much, or that there are too many. That memory
# is short it may say, too, by the limit's name.
MEMORY_LIMIT = "server.max_inflight_bytes"
STATUSES = (200, 400, 413, 422, 429)
CODES = (
    grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def range_of_now():
    now = int(time.time())
    return {"start": now - 3600, "end": now + 60}


def over_http(server, query, patience, path, url=None, method="GET", **how):
    """Asks and leaves; what the server should not have said. A stream is read until patience is over."""
    left = time.monotonic() + patience
    try:
        with requests.request(
                method, (url or server.url) + path, headers={**HOSTILE, **how.pop("headers", {})}, timeout=patience,
                stream=True, **how) as response:
            text = b""
            for chunk in response.iter_content(1 << 16):
                text = (text + chunk)[:200]
                if time.monotonic() > left:
                    break
    except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
        # Reading a stream ends with the latter when time is over.
        return None if "timed out" in str(error) else (query[:80], str(error)[:200])
    is_short = response.status_code == 503 and MEMORY_LIMIT.encode() in text
    return None if is_short or response.status_code in STATUSES else (query[:80], response.status_code, text)


def over_grpc(query, call):
    """Takes what comes until the call is over."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        is_short = error.code() == grpc.StatusCode.UNAVAILABLE and MEMORY_LIMIT in error.details()
        if not is_short and error.code() not in CODES:
            return query[:80], error.code(), error.details()[:200]
    return None


def http_query(path, **headers):
    def ask(server, query, patience):
        params = {"q": query, **range_of_now(), "limit": 5000, "step": "10s"}
        if path.startswith("/api/metrics"):
            del params["limit"]
        return over_http(server, query, patience, path, params=params, headers=headers)
    return ask


def streamed(method, **fields):
    def ask(server, query, patience):
        named = {"Query": query} if method == "Search" else {"query": query}
        times = range_of_now()
        if method.startswith("Metrics"):
            times = {name: seconds * 10**9 for name, seconds in times.items()}
        with StreamingClient(server.grpc_port, tenant="hostile") as client:
            return over_grpc(query, client.start(method, timeout=patience, **named, **times, **fields))
    return ask


def live_tail(server, query, patience):
    """Looks at what is pushed meanwhile."""
    def feed():
        text = "ab" * 1000
        server.push(otlp.export(*(otlp.span(attributes={"a": text}) for _ in range(20))), headers=HOSTILE)

    feeder = threading.Timer(0.2, feed)
    feeder.start()
    wrong = over_http(server, query, patience, "/ui/api/tail", params={"q": query})
    feeder.join()
    return wrong


def tags_of(query, count=1500):
    """Tags that no span has, other ones each time."""
    return {f"{query}{number}": "x" for number in range(count)}


def jaeger_http(server, query, patience):
    micros = {name: seconds * 10**6 for name, seconds in range_of_now().items()}
    params = {"service": "shop", "tags": json.dumps(tags_of(query)), "limit": 1500, **micros}
    return over_http(server, query, patience, "/api/traces", f"http://127.0.0.1:{server.ports.query_http}", params=params)


def jaeger_grpc(version):
    def ask(server, query, patience):
        q, stubs = {2: (jaeger.query_v2, jaeger.query_v2_grpc), 3: (jaeger.query_v3, jaeger.query_v3_grpc)}[version]
        times = range_of_now()
        # Of v2 all traces in whole as well, for tags leave none.
        named = {"tags": tags_of(query)} if version == 2 else {"attributes": tags_of(query)}
        wrong = None
        with jaeger.channel(server.ports.query_grpc) as channel:
            for tags in (named, {}):
                asked = q.TraceQueryParameters(
                    service_name="shop", start_time_min=Timestamp(seconds=times["start"]), start_time_max=Timestamp(seconds=times["end"]),
                    search_depth=1500, **tags)
                stub = stubs.QueryServiceStub(channel)
                call = stub.FindTraces(
                    q.FindTracesRequest(query=asked), timeout=patience, metadata=[("x-scope-orgid", "hostile")])
                wrong = wrong or over_grpc(query, call)
        return wrong
    return ask


def zipkin(server, query, patience):
    annotations = " and ".join(f"{key}={value}" for key, value in tags_of(query, 1000).items())
    url, wrong = f"http://127.0.0.1:{server.ports.zipkin}", None
    for params in ({"annotationQuery": annotations}, {}):
        wrong = wrong or over_http(
            server, query, patience, "/api/v2/traces", url, params={"limit": 1500, "lookback": 3_600_000, **params})
    return wrong


def dry_run(server, query, patience):
    policies = [
        {"name": f"p{number}", "type": "traceql", "traceql": {"query": query.replace("#", str(number))}} for number in range(20)]
    return over_http(
        server, query, patience, "/api/tail-sampling/dry-run", method="POST", params={**range_of_now(), "limit": 1500},
        json={"policies": policies})


EVENTS = {"Accept": "text/event-stream"}

# Each by itself and all together: how to ask, and queries in which @ is another number each time. URLs may have 64 KiB.
ATTACKS = {
    "slow patterns": (http_query("/api/search"), [f'{{ .a =~ "{SLOW_PATTERN}#" }}']),
    # A pattern that is a value, and one within an expression: both are matched span by span.
    "patterns of spans": (http_query("/api/search"), ["{ .a =~ .pattern }", f'{{ (.a =~ "{SLOW_PATTERN}") = true }}']),
    "chain of patterns": (http_query("/api/search"), [chain(".a =~ `[a-b]+#x.*@`", 1000), chain(".a =~ `\\pL{3}@#`", 400, " && ")]),
    "large classes": (http_query("/api/search"), ["{ .a =~ `(?i)[" + "".join(chr(0x1000 + 2 * i) for i in range(5_000)) + "]` }"]),
    "long chain": (http_query("/api/search"), [chain(".a=#", 4_000, "||")]),
    "groups": (http_query("/api/search"), ["{ } | by(.a) | by(span:id) | count() > 0"]),
    "structure": (http_query("/api/search"), ["{ } >> { } >> { } >> { }", "{ } &>> { } &<< { } !~ { }"]),
    "series": (http_query("/api/metrics/query_range"), ["{ } | quantile_over_time(duration, .5, .9, .99) by (.a, span:id)"]),
    "comparison": (http_query("/api/metrics/query"), ['{ } | compare({ .a =~ "%s" }, 1000)' % SLOW_PATTERN]),
    "tags": (http_query("/api/v2/search/tags"), [chain(".a=#", 4_000, "&&"), chain(".a =~ `[a-b]+#x.*@`", 1000, " && ")]),
    "values": (http_query("/api/v2/search/tag/.a/values"), [chain(".a =~ `[a-b]+#x.*@`", 1000, " && ")]),
    "editor": (http_query("/ui/api/check"), [chain(".a =~ `[a-b]+#x.*@`", 1000)]),
    "list of queries": (http_query("/ui/api/queries"), [""]),
    "streamed search": (streamed("Search", Limit=5000), [f'{{ .a =~ "{SLOW_PATTERN}@" }}', "{ } >> { } >> { }"]),
    "streamed series": (streamed("MetricsQueryRange", step=10**10), ["{ } | quantile_over_time(duration, .5, .99) by (.a, span:id)"]),
    "streamed values": (streamed("SearchTagValuesV2", tagName="span.a"), [chain(".a =~ `[a-b]+#x.*@`", 1000, " && ")]),
    "events of a search": (http_query("/ui/api/search", **EVENTS), [f'{{ .a =~ "{SLOW_PATTERN}@" }}', "{ } &>> { } &<< { }"]),
    "events of series": (http_query("/ui/api/metrics/query_range", **EVENTS), ["{ } | rate() by (.a, span:id)"]),
    "live tail": (live_tail, [f'{{ .a =~ "{SLOW_PATTERN}@" }}']),
    "Jaeger over HTTP": (jaeger_http, ["t@."]),
    "Jaeger's gRPC": (jaeger_grpc(2), ["t@."]),
    "Jaeger's gRPC v3": (jaeger_grpc(3), ["t@."]),
    "Zipkin": (zipkin, ["t@."]),
    "dry run": (dry_run, [chain(".a =~ `[a-b]+@x#.*`", 100), f'{{ .a =~ "{SLOW_PATTERN}@" }}']),
}


def start(servers, **config):
    return dialects.start(servers, extra={
        "multitenancy_enabled": True,
        "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
        **config,
    })


def push(server, tenant, *spans):
    response = server.push(otlp.export(*spans), headers=tenant)
    assert response.status_code == 200, response.text


def push_texts(server, count=1500):
    chosen = random.Random(1)
    for first in range(0, count, 250):
        texts = ["".join(chosen.choices("ab", k=2000)) for _ in range(250)]
        push(server, HOSTILE, *(
            otlp.span(attributes={"a": text, "pattern": f"(?:[ab]*a[ab]{{{300 + (first + i) % 400}}})c"})
            for i, text in enumerate(texts)))


def push_deep_trace(server, count):
    trace_id = bytes(range(16))
    parent = b""
    for first in range(0, count, 5000):
        spans = []
        for number in range(first, first + 5000):
            span_id = (number + 1).to_bytes(8, "big")
            spans.append(otlp.span(trace_id=trace_id, span_id=span_id, parent_span_id=parent))
            parent = span_id if number % 3 else parent
        push(server, HOSTILE, *spans)


def search(server, tenant, query, timeout=60.0, **params):
    now = int(time.time())
    params = {"q": query, "start": now - 3600, "end": now + 60, "limit": 5000, **params}
    return requests.get(server.url + "/api/search", params=params, headers=tenant, timeout=timeout)


class Attack:
    """Clients that ask expensive queries, leave soon and come again, each time with a query that nobody has asked before."""

    def __init__(self, server, names, threads_each=2, patience=2.0):
        self.server, self.patience = server, patience
        self.over = threading.Event()
        self.wrong, self.asked = [], 0
        attacks = [ATTACKS[name] for name in names for _ in range(threads_each)]
        self.threads = [threading.Thread(target=self.ask, args=attack, daemon=True) for attack in attacks]

    def ask(self, ask, queries):
        while not self.over.is_set():
            for query in queries:
                self.asked += 1
                text = query.replace("@", str(self.asked)).replace("#", str(self.asked))
                wrong = ask(self.server, text, self.patience)
                if wrong:
                    self.wrong.append(wrong)
            self.over.wait(0.05)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def attack_one(server, names, seconds, rate, **how):
    with Honest(server, rate) as honest, Attack(server, names, **how) as attack:
        time.sleep(seconds)
    print(f"{', '.join(names)}: {attack.asked} queries asked; {honest.figures()}")
    assert not attack.wrong, attack.wrong[:5]
    honest.lost_nothing()
    left = time.monotonic()
    eventually(lambda: server.metric(RUNNING) == 0, "no query is worked on", MOST_SECONDS_AFTER_THE_CLIENT)
    print(f"no query is worked on {time.monotonic() - left:.2f} s after the last client left")
    return honest


def test_other_tenants_push_and_search_while_expensive_queries_run(servers):
    server = start(servers)
    push_texts(server)
    push_deep_trace(server, 50_000)
    attack_one(server, list(ATTACKS), seconds=8, rate=1000, threads_each=1)


@pytest.mark.hostile
@pytest.mark.parametrize("names", [*([name] for name in ATTACKS), list(ATTACKS)], ids=[*ATTACKS, "all attacks"])
def test_search_of_another_tenant_takes_less_than_a_second_while_any_attack_runs(servers, names):
    server = start(servers)
    push_texts(server)
    push_deep_trace(server, 50_000)
    honest = attack_one(server, names, SECONDS_OF_AN_ATTACK, rate=5000, threads_each=4 if len(names) == 1 else 1)
    assert honest.p99 <= 1.0, honest.figures()


@pytest.mark.parametrize("tenants, queries, blocks", [(1, 4, 20), (2, 1, 20), (8, 2, 5), (12, 10, 0), (40, 2, 2)], ids=[
    "one tenant", "two tenants", "eight tenants", "twelve tenants, live data", "forty tenants"])
def test_search_of_another_tenant_waits_for_no_query_of_tenants_whose_queries_take_long(servers, tenants, queries, blocks):
    """They ask until time is over, each for more jobs than may run, and always for something else."""
    server = start(servers, compactor={"compaction": {"compaction_cycle": "1h"}})
    crowd = [{"X-Scope-OrgID": f"crowd-{number}"} for number in range(tenants)]
    chosen = random.Random(1)
    for _ in range(blocks or 3):
        for tenant in crowd:
            push(server, tenant, *(
                otlp.span(attributes={"a": "".join(chosen.choices("ab", k=2000))}) for _ in range(200)))
        if blocks:
            server.flush()
    clients = tenants * queries
    with Honest(server, rate=500) as honest:
        over = time.monotonic() + 15

        def ask(number):
            tenant = crowd[number % tenants]
            while time.monotonic() < over:
                try:
                    search(server, tenant, f'{{ .a =~ "{SLOW_PATTERN}{number}" }}', timeout=15)
                except requests.RequestException:
                    # The client leaves.
                    pass
                number += clients

        at_once(ask, clients, clients)
    print(f"{tenants} tenants: {honest.figures()}, at most {max(honest.seconds):.2f} s")
    honest.lost_nothing()
    assert max(honest.seconds) < MOST_SECONDS_BESIDE_A_CROWD, honest.figures()


def test_groups_of_each_span_of_a_trace_in_two_blocks_are_merged_at_once(servers):
    server = start(servers)
    trace_id = os.urandom(16)
    for _ in range(2):
        push(server, HOSTILE, *(otlp.span(trace_id) for _ in range(20_000)))
        server.flush()
    began = time.monotonic()
    response = search(server, HOSTILE, "{ } | by(span:id)")
    assert response.status_code == 200, response.text[:300]
    assert [len(trace["spanSets"]) for trace in response.json()["traces"]] == [40_000]
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("limit, status, text", [
    ({"max_query_cpu_time": "300ms"}, 422, "needs more than 300ms of processor time"),
    ({"api_timeout": "500ms"}, 503, "unable to process request in the configured timeout"),
], ids=["processor time", "time"])
def test_query_beyond_its_budget_is_refused_with_the_limit(servers, limit, status, text):
    server = start(servers, query_frontend=limit)
    push_texts(server, 500)
    began = time.monotonic()
    response = search(server, HOSTILE, f'{{ .a =~ "{SLOW_PATTERN}" }}')
    assert (response.status_code, text in response.text) == (status, True), (response.status_code, response.text)
    assert time.monotonic() - began < 10
    eventually(lambda: server.metric(RUNNING) == 0, "nothing goes on", MOST_SECONDS_AFTER_THE_CLIENT)
    assert search(server, HOSTILE, '{ .a =~ "[ab]{10}.*" }').status_code == 200


def test_pattern_that_repeats_too_often_is_refused_before_it_runs_and_nesting_is_cheap(servers):
    server = start(servers)
    for query, text in [
        ('{ .a =~ "(a{1,100}){1,50}b" }', "repeats something 5000 times"),
        ('{ .a =~ "(?:\\\\pL{1,500}x){1,2}" }', "too large"),
    ]:
        response = search(server, HOSTILE, query)
        assert response.status_code == 400 and text in response.text, response.text
    began = time.monotonic()
    response = search(server, HOSTILE, "{ " + "(" * 10_000 + ".a = 1" + ")" * 10_000 + " }")
    assert response.status_code == 200, response.text
    assert time.monotonic() - began < 5

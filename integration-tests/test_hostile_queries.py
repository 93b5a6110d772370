"""Queries that take long: they hold up nobody else's pushes and searches, and end when nobody waits for them."""
import random
import statistics
import threading
import time

import pytest
import requests

from harness import otlp
from harness.waiting import eventually

HOSTILE = {"X-Scope-OrgID": "hostile"}
HONEST = {"X-Scope-OrgID": "honest"}
# On a quiet machine with a release build searches take some milliseconds; a test machine may have other things to do.
MOST_SECONDS_OF_A_SEARCH = 5.0
MOST_SECONDS_AFTER_THE_CLIENT = 5.0
RUNNING = "tactus_ingester_queries_running"

# Each of its matches takes a step for nearly each of its states and byte of a text.
SLOW_PATTERN = "(?:[ab]*a[ab]{700})c"
EXPENSIVE = [
    # A pattern that is a value, and one within an expression: both are matched span by span.
    '{ .a =~ .pattern }',
    f'{{ (.a =~ "{SLOW_PATTERN}") = true }}',
    "{ } | by(.a) | by(span:id) | count() > 0",
    "{ } >> { } >> { } >> { }",
    "{ " + " || ".join(f'.a = "{i}"' for i in range(1000)) + " }",
]
EXPENSIVE_METRICS = [
    "{ } | quantile_over_time(duration, .5, .9, .99) by (.a, span:id)",
    '{ } | compare({ .a =~ "%s" })' % SLOW_PATTERN,
]


def start(servers, **config):
    return servers.start(config={
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


def ask_metrics(server, tenant, query, timeout):
    now = int(time.time())
    params = {"q": query, "start": now - 3600, "end": now + 60, "step": "10s"}
    return requests.get(server.url + "/api/metrics/query_range", params=params, headers=tenant, timeout=timeout)


class Attack:
    """Clients that ask expensive queries, leave soon and come again."""

    def __init__(self, server, patience=2.0):
        self.server, self.patience = server, patience
        self.over = threading.Event()
        self.wrong = []
        queries = [(search, f'{{ .a =~ "{SLOW_PATTERN}{i}" }}') for i in range(10)]
        queries += [(search, query) for query in EXPENSIVE]
        queries += [(ask_metrics, query) for query in EXPENSIVE_METRICS]
        self.threads = [threading.Thread(target=self.ask, args=query, daemon=True) for query in queries]

    def ask(self, how, query):
        while not self.over.is_set():
            try:
                response = how(self.server, HOSTILE, query, timeout=self.patience)
            except requests.exceptions.Timeout:
                continue
            if response.status_code not in (200, 422, 429):
                self.wrong.append((query[:80], response.status_code, response.text[:200]))
            self.over.wait(0.2)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def test_other_tenants_push_and_search_while_expensive_queries_run(servers):
    server = start(servers)
    push_texts(server)
    push_deep_trace(server, 50_000)
    refused, pushed, seconds = [], [], []
    with Attack(server) as attack:
        eventually(lambda: server.metric(RUNNING) >= 2, "expensive queries run", 30)
        end = time.monotonic() + 8
        next_search = time.monotonic()
        while time.monotonic() < end:
            began = time.monotonic()
            spans = [otlp.span(name="order", attributes={"batch": len(pushed)}) for _ in range(100)]
            response = server.push(otlp.export(*spans), headers=HONEST)
            if response.status_code != 200:
                refused.append((response.status_code, response.text[:200]))
            pushed.append(spans)
            if time.monotonic() >= next_search:
                next_search = time.monotonic() + 1
                batch = len(pushed) - 1
                asked = time.monotonic()
                response = search(server, HONEST, f"{{ .batch = {batch} }}")
                seconds.append(time.monotonic() - asked)
                assert response.status_code == 200, response.text
                found = {trace["traceID"].zfill(32) for trace in response.json()["traces"]}
                assert found == {span.trace_id.hex() for span in spans}
            time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))
    assert not refused
    assert not attack.wrong
    seconds.sort()
    print(f"searches: median {statistics.median(seconds):.3f} s, slowest {seconds[-1]:.3f} s of {len(seconds)}; "
          f"{100 * len(pushed) / 8:.0f} spans/s")
    assert seconds[-1] < MOST_SECONDS_OF_A_SEARCH
    left = time.monotonic()
    eventually(lambda: server.metric(RUNNING) == 0, "no query is worked on", MOST_SECONDS_AFTER_THE_CLIENT)
    print(f"no query is worked on {time.monotonic() - left:.2f} s after the last client left")


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

"""Spans of which each makes series of its own, with the limits of a metrics generator as they are by default.

As in test_hostile_tenants.py the process has a bound, and an honest tenant loses nothing."""
import random

import pytest
import requests

from harness import otlp
from harness.generator import generator
from harness.otlp import Span
from harness.server import merge
from harness.servers import Servers
from harness.waiting import eventually
from test_hostile_tenants import HOSTILE, bounded


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("series")
    servers = Servers(directory)
    yield servers.start(config={"multitenancy_enabled": True, **generator(directory, ["http://127.0.0.1:1/"])})
    servers.close()


def push(server, tenant, *spans, **how):
    answer = server.push(otlp.export(*spans, **how), headers=tenant)
    assert answer.status_code == 200, answer.text


def received(server):
    return server.metric("tempo_metrics_generator_spans_received_total")


def test_names_that_are_all_different(server):
    """Two hundred thousand names, of the length of which labels are cut or short."""
    with bounded(server):
        before = received(server)
        for length, spans in ((10, 160_000), (2000, 40_000)):
            for first in range(0, spans, 4000):
                push(server, HOSTILE, *(otlp.span(name=f"{number:0{length}}") for number in range(first, first + 4000)))
        # Those for which there is no room in the queue on the way are left out.
        eventually(lambda: received(server) > before + 50_000, "spans are counted", 60)
        # Scraped by several: a page is refused rather than made without memory.
        answers = [requests.get(server.url + "/metrics/generated", headers=HOSTILE, timeout=60) for _ in range(2)]
        for answer in answers:
            assert answer.status_code in (200, 503), answer.text[:300]
    assert server.metric("tempo_metrics_generator_registry_series_limited_total") > 0
    assert "no memory for more series" in server.logs()
    assert server.metric("tactus_metrics_generator_series_bytes") <= 104 << 20
    # A tenant that comes now has series of its own.
    late = {"X-Scope-OrgID": "late"}
    push(server, late, *(otlp.span(name=f"mine-{number}") for number in range(20)))
    page = lambda: requests.get(server.url + "/metrics/generated", headers=late, timeout=60).text
    eventually(lambda: all(f'span_name="mine-{number}"' in page() for number in range(20)), "the series of another tenant", 60)


def test_names_of_symbols_of_which_none_resembles_another(tmp_path):
    """Each would be a pattern of its own, of thirty parts."""
    limits = {"span_name_sanitization": "enabled"}
    servers = Servers(tmp_path)
    try:
        server = servers.start(config=merge({"multitenancy_enabled": True}, generator(tmp_path, limits=limits)))
        chance = random.Random(7)
        symbols = "!@#$&*()_+=[]{};:,.<>?|~^-"
        with bounded(server):
            for _ in range(60):
                push(server, HOSTILE, *(otlp.span(name="".join(chance.choices(symbols, k=30))) for _ in range(1000)))
            eventually(lambda: received(server) > 20_000, "spans are counted", 60)
        # Patterns of a tenant that comes now are found.
        late = {"X-Scope-OrgID": "late"}
        push(server, late, *(otlp.span(name=f"GET /users/{number}") for number in range(100, 120)))
        page = lambda: requests.get(server.url + "/metrics/generated", headers=late, timeout=60).text  # noqa: E731
        eventually(lambda: 'span_name="GET /users/<_>"' in page(), "the pattern", 60)
    finally:
        servers.close()


def test_calls_of_which_one_side_comes(server):
    """Each of a client and to a server of its own."""
    with bounded(server):
        for first in range(0, 60_000, 2000):
            spans = [otlp.span(kind=Span.SPAN_KIND_CLIENT, attributes={"peer.service": f"{number:0500}"})
                     for number in range(first, first + 2000)]
            push(server, HOSTILE, *spans, service=f"{first:01000}")


def test_very_many_tenants(server):
    with bounded(server):
        for number in range(6000):
            push(server, {"X-Scope-OrgID": f"series-{number}"}, otlp.span())

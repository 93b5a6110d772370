"""What a query finds is shown while it runs, spans that no block holds yet included."""
import json
import os
import re
import time

import pytest

from harness import otlp
from harness.browser import serving_pages, settled
from harness.cluster import Cluster
from harness.orders import pushed
from harness.slow import slow_query
from harness.waiting import eventually

SECOND = 10**9
SEGMENTS, SPANS = 6, 4_000
# Each step of pushes becomes a segment of its own, and none a block.
CONFIG = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "100ms"},
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
}


class Held:
    """Spans that only ingesters have, in several segments, each with one span that is found.

    server: who is asked. distributor, ingesters: the same process, unless it is a cluster."""

    def __init__(self, server, distributor=None, ingesters=None, spans=SPANS):
        self.server, self.base = server, time.time_ns() - 30 * SECOND
        for segment in range(SEGMENTS):
            pushed = otlp.export(*(self.span(segment, n) for n in range(spans)), service="slow")
            (distributor or server).must_push(pushed)
            is_cut = lambda: all(len(ingester.segments()) > segment for ingester in ingesters or [server])
            eventually(is_cut, f"{segment + 1} segments")
        self.query = self.slow_query()

    def span(self, segment, n):
        return otlp.span(name="slow", start=self.base + segment * SECOND, attributes={
            "text": os.urandom(1_000).hex(), "found": segment if n == 0 else -1, f"only.{segment}": "here"})

    def slow_query(self):
        """One that takes some seconds, of as many alternatives as a query for tags may have at most."""
        parts = 3
        while True:
            query, before = slow_query(parts, "span.found >= 0"), time.monotonic()
            assert len(self.server.search(query)) == SEGMENTS
            if time.monotonic() - before > 3 or parts > 90:
                return query
            parts *= 2

    def events(self, path, **params):
        """Events of a stream, each with the seconds until it came."""
        before = time.monotonic()
        url = f"{self.server.url}/ui/api/{path}"
        with self.server.session.get(url, params=params, headers={"Accept": "text/event-stream"}, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            name = None
            for line in answer.iter_lines(chunk_size=1):
                key, _, value = line.decode().partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, json.loads(value), time.monotonic() - before


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-streaming"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def held(server):
    return Held(server)


def traces(answer):
    return {trace["traceID"] for trace in answer.get("traces", [])}


def names(answer):
    return {tag for scope in answer.get("scopes", []) for tag in scope.get("tags", []) if tag.startswith("only.")}


def values(answer):
    return {value["value"] for value in answer.get("tagValues", [])}


QUESTIONS = [("search", traces), ("v2/search/tags", names), ("v2/search/tag/span.found/values", values)]


def check_early_findings(held, path, found):
    """Some findings come early, and the last answer is that without a stream."""
    events = list(held.events(path, q=held.query, start=held.base // SECOND - 60, end=held.base // SECOND + 60))
    name, whole, took = events[-1]
    assert name == "complete" and len(found(whole)) == SEGMENTS, whole
    shown = [(found(answer), seconds) for name, answer, seconds in events[:-1] if found(answer)]
    assert shown, f"nothing was shown in {took:.1f} s"
    first, seconds = shown[0]
    assert seconds < took * 2 / 3, f"{len(first)} of {SEGMENTS} after {seconds:.2f} of {took:.2f} s"
    assert set().union(*(some for some, _ in shown)) <= found(whole)
    plain = held.server.get(f"/ui/api/{path}", q=held.query, start=held.base // SECOND - 60, end=held.base // SECOND + 60)
    assert found(plain.json()) == found(whole)


@pytest.mark.parametrize("path,found", QUESTIONS)
def test_findings_among_recent_spans_are_shown_before_all_are_searched(held, path, found):
    check_early_findings(held, path, found)


def test_findings_of_ingesters_are_shown_by_the_frontend_of_a_cluster(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    with Cluster(tmp_path, bucket, counts, config=CONFIG) as cluster:
        cluster.start()
        held = Held(cluster["query-frontend-0"], cluster["distributor-0"], cluster.of("ingester"), spans=1_000)
        for path, found in QUESTIONS:
            check_early_findings(held, path, found)


def test_rows_are_there_while_the_search_runs(held, visit):
    page = visit.open("ui/search?range=15m")
    page.fill("#query", held.query)
    page.get_by_role("button", name="Run").click()
    page.locator(".results tbody tr").first.wait_for()
    assert page.locator(".streaming").count() == 1, "the search is over"
    assert page.locator(".results tbody tr").count() < SEGMENTS
    settled(page)
    page.locator(".streaming").wait_for(state="detached")
    assert page.locator(".results tbody tr").count() == SEGMENTS
    visit.check()


@pytest.fixture(scope="module")
def orders(server):
    return pushed(server, time.time_ns() - 20 * SECOND)


@pytest.mark.parametrize("path,lacking", [
    ("ui/search?q={ name = \"nowhere\" }", "/ui/api/search?"),
    ("ui/search?q={ }", "/ui/api/metrics/query_range?"),
    ("ui/services", "/ui/api/metrics/query?"),
    ("ui/services", "/ui/api/metrics/query_range?"),
    ("ui/map", "/ui/api/metrics/query?"),
    ("ui/explore?q={ } | rate()", "/ui/api/metrics/query_range?"),
])
def test_answer_that_is_not_whole_says_so_once(visit, orders, path, lacking):
    def mark(route):
        answer = route.fetch()
        marked = re.sub(r"(event: complete\ndata: \{)", r'\1"status":"PARTIAL","message":"A block could not be read.",', answer.text())
        assert "PARTIAL" in marked, marked
        route.fulfill(response=answer, body=marked)

    visit.page.route(lambda url: lacking in url, mark)
    page = settled(visit.open(path))
    page.locator(".strip", has_text="! A block could not be read.").wait_for()
    page.wait_for_load_state("networkidle")
    assert page.locator(".strip").count() == 1
    assert visit.axe() == []
    visit.check()


def test_query_of_the_services_that_fails_is_told_whatever_the_others_answer(visit, orders):
    held = []

    def refuse(route):
        if "quantile_over_time" in route.request.url:
            route.fulfill(status=429, content_type="text/plain", body="too many outstanding requests")
        else:
            held.append(route)

    visit.expect("429")
    visit.page.route(lambda url: "/ui/api/metrics/query" in url, refuse)
    page = visit.open("ui/services")
    failed = page.get_by_role("alert").filter(has_text="too many outstanding requests")
    failed.wait_for()
    assert page.get_by_text("reading…").count() == 0
    for route in held:
        route.continue_()
    page.wait_for_load_state("networkidle")
    assert failed.count() == 1 and page.locator("main tbody tr").count() == 0
    visit.check()


def test_trace_that_could_not_be_read_whole_says_so_wherever_it_is_looked_at(visit, orders):
    trace = f"{visit.root}ui/api/traces/{orders.hex}/"
    unread = {"status": 200, "headers": {"X-Tactus-Partial": "true", "Content-Type": "application/json"}}
    visit.page.route(f"{trace}spans**", lambda route: route.fulfill(**unread, body='{"resourceSpans":[]}'))
    visit.page.route(f"{trace}find?**", lambda route: route.fulfill(response=route.fetch(), headers=unread["headers"]))
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row", has_text="charge").first.click()
    page.locator(".details").get_by_role("alert").filter(has_text="could not be read").wait_for()
    page.fill("#find", '{ name = "charge" }')
    page.locator(".strip", has_text="! Some data could not be read.").wait_for()
    with page.expect_download():
        page.get_by_role("button", name="Download OTLP").click()
    page.get_by_text("saved, but not whole: Some data could not be read.").wait_for()
    visit.check()

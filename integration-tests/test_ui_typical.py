"""A trace against those that are like it, and what some spans have that others have not."""
import os
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from harness import otlp
from harness.browser import Visit, need_pages
from harness.looking import drag
from harness.servers import Servers
from harness.waiting import eventually

MS = otlp.MILLISECOND
SERVER = otlp.Span.SPAN_KIND_SERVER
# Each query counts as a slow one, so that the list of these tells what it cost.
CONFIG = {"query_frontend": {"metrics": {"query_backend_after": "1s"}, "query_log": {"slow_after": "0s"}}}


class Buys:
    """Twenty traces of 100 ms each, and five that wait for a bank in another region."""

    def __init__(self, server):
        self.start = time.time_ns() - 30 * 10**9
        for _ in range(20):
            self._push(server, region="eu", charge=20, more=[])
        self.slow = [self._push(server, region="us", charge=900, more=["retry"]) for _ in range(5)]

    def _push(self, server, region, charge, more):
        trace = os.urandom(16)
        root = otlp.span(trace, name="GET /buy", kind=SERVER, start=self.start, duration=(80 + charge) * MS, attributes={"order": trace.hex()})
        calls = [
            otlp.span(trace, name=name, start=self.start + 10 * MS, duration=charge * MS, parent_span_id=root.span_id)
            for name in ["charge", *more]]
        server.must_push(otlp.export(root, *calls, service="shop", resource={"region": region}))
        return trace


@pytest.fixture(scope="module")
def bought(tmp_path_factory):
    """(server, buys): in a block, beside one of a time long before."""
    group = Servers(tmp_path_factory.mktemp("typical"))
    server = group.start(config=CONFIG)
    need_pages(server)
    server.must_push(otlp.export(otlp.span(name="long before", start=time.time_ns() - 6000 * 10**9)))
    server.flush()
    eventually(lambda: len(server.block_directories()) == 1, "a block")
    server.must_push(otlp.export(otlp.span(name=""), service=""))
    buys = Buys(server)
    server.flush()
    eventually(lambda: len(server.block_directories()) == 2, "another block")
    eventually(lambda: server.search('{ name = "GET /buy" }') and len(server.search('{ name = "GET /buy" }')) == 25, "all are there")
    yield server, buys
    group.close()


@pytest.fixture
def visit(browser, bought):
    made = Visit(browser, bought[0].url)
    yield made
    made.close()


def test_typical_is_the_middle_of_the_traces_that_began_alike(bought):
    server, buys = bought
    path = "/ui/api/typical"
    found = server.get(path, service="shop", operation="GET /buy", without=buys.slow[0].hex()).json()
    assert (found["traces"], found["duration"]["p50"], found["duration"]["p95"]) == (24, 100 * MS, 980 * MS)
    paths = {one["name"]: one for one in found["paths"]}
    assert (paths["GET /buy"]["parent"], paths["charge"]["parent"], paths["charge"]["p50"]) == (None, 0, 20 * MS)
    assert (paths["retry"]["traces"], paths["retry"]["calls"], paths["GET /buy"]["selfP50"]) == (4, 4, 80 * MS)
    assert server.get(path, service="shop", operation="nobody").json()["traces"] == 0
    before = int(buys.start // 10**9) - 100
    assert server.get(path, operation="GET /buy", start=before - 100, end=before).json()["traces"] == 0
    assert server.get(path, service="", operation="").json()["traces"] == 1, "the one without names"
    for wrong in [{}, {"operation": "x", "start": "soon"}, {"operation": "x", "without": "y"}]:
        assert server.get(path, **wrong).status_code == 400, wrong


def test_cost_of_typical_is_told(bought):
    server, buys = bought
    found = server.get("/ui/api/typical", service="shop", operation="GET /buy", without=buys.slow[0].hex()).json()
    slow = server.get("/ui/api/queries").json()["slow"]
    traces, search = slow[0], slow[1]
    assert (traces["kind"], search["kind"]) == ("traces", "search"), slow
    assert traces["query"] == '{ nestedSetParent < 0 && name = `GET /buy` && resource.service.name = `shop` }', traces
    # Of each of the 24 traces recent spans and blocks near it are asked.
    assert traces["jobs"] == traces["doneJobs"] >= 48 and traces["endMs"] > traces["startMs"] > 0, traces
    assert traces["blocks"] == 1, "the block of a time long before is looked into"
    assert 0 < traces["inspectedBytes"] and found["inspectedBytes"] == traces["inspectedBytes"] + search["inspectedBytes"]


def test_a_trace_by_its_id_tells_what_it_cost(bought):
    server, buys = bought
    assert server.get(f"/api/traces/{buys.slow[0].hex()}").status_code == 200
    one = server.get("/ui/api/queries").json()["slow"][0]
    assert (one["query"], one["jobs"], one["doneJobs"], one["blocks"]) == (buys.slow[0].hex(), 3, 3, 2), one
    assert one["inspectedBytes"] > 0


def test_differences_rank_what_tells_the_selection_from_the_rest(bought):
    server, buys = bought
    window = {"start": buys.start // 10**9 - 60, "end": buys.start // 10**9 + 60}
    found = server.get("/ui/api/differences", q='{ name = "GET /buy" }', selection="{ duration > 500ms }", **window).json()
    assert (found["selection"], found["baseline"]) == (5, 20)
    names = [one["name"] for one in found["attributes"]]
    assert names[0] == "resource.region" and "span.order" not in names and "name" not in names, names
    (first, *_) = found["attributes"][0]["values"]
    assert first["value"] in ("us", "eu") and first["condition"] == f'resource.region = "{first["value"]}"'
    counts = {one["value"]: (one["selection"], one["baseline"]) for one in found["attributes"][0]["values"]}
    assert counts == {"us": (5, 0), "eu": (0, 20)}
    for wrong in [{"selection": "{ } | rate()"}, {"q": "{ name = "}, {"selection": "{ }) | rate() | ({ }"}]:
        assert server.get("/ui/api/differences", **wrong, **window).status_code == 400, wrong


def test_trace_is_shown_against_typical(visit, bought):
    _, buys = bought
    page = visit.open(f"ui/trace/{buys.slow[0].hex()}")
    page.get_by_role("button", name="Against typical").click()
    page.get_by_text("+880 ms against the median of 24 traces").wait_for()
    beside = "880 ms slower than the median of 24 similar traces, as some of them are; self time grew most in shop, by 1.78 s"
    page.locator(".findings").get_by_role("button", name=beside).wait_for()
    rows = page.locator("tbody tr").all_inner_texts()
    assert "only here" not in rows[0] and any("retry" in row and "17 %" in row for row in rows), rows
    page.locator("tbody").get_by_role("button", name="retry").click()
    page.locator(".details h3", has_text="Resource").wait_for()
    assert visit.axe() == []
    page.get_by_role("link", name="Compare call by call").click()
    page.get_by_text("B takes +880 ms").wait_for()
    assert "only B" in page.locator("tbody tr", has_text="retry").inner_text()
    assert "Typical shop GET /buy" in page.locator("main").inner_text()
    assert visit.axe() == []
    visit.check()


def test_verdict_tells_what_is_typical_without_being_asked(visit, bought):
    _, buys = bought
    with visit.page.expect_request("**/ui/api/typical?*") as asked:
        page = visit.open(f"ui/trace/{buys.slow[0].hex()}")
    assert "few=true" in asked.value.url
    page.locator(".findings li").first.filter(has_text="880 ms slower than the median of 24 similar traces").wait_for()
    assert page.get_by_role("button", name="Waterfall", pressed=True).count() == 1
    visit.check()


def test_verdict_of_a_trace_that_opened_out_of_sight_comes_when_it_is_seen(visit, bought):
    _, buys = bought
    page, asked = visit.page, []
    page.on("request", lambda request: "/ui/api/typical?" in request.url and asked.append(request.url))
    page.clock.install()
    page.add_init_script("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    visit.open(f"ui/trace/{buys.slow[0].hex()}")
    page.locator(".findings li").first.wait_for()
    page.clock.fast_forward(5_000)
    assert asked == []
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { value: false });
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.clock.fast_forward(1_000)
    page.locator(".findings li").first.filter(has_text="880 ms slower than the median of 24 similar traces").wait_for()
    visit.check()


def test_what_differs_is_told_of_a_search_and_leads_to_the_spans(visit, bought):
    page = visit.open('ui/search?q={ name = "GET /buy" %26%26 duration > 500ms }')
    page.get_by_role("button", name="What differs").click()
    row = page.locator(".differences tbody tr", has_text="us").first
    row.wait_for()
    assert "100 %" in row.inner_text(), row.inner_text()
    assert visit.axe() == []
    row.get_by_role("link", name="us").click()
    page.get_by_text("5 traces").wait_for()
    visit.check()


def test_what_differs_is_told_of_one_filter_alone(visit, bought):
    asked = []
    page = visit.page
    page.on("request", lambda request: asked.append(request.url) if "/ui/api/differences" in request.url else None)
    visit.open('ui/search?q={ name = "GET /buy" %26%26 duration > 500ms } | select(span.order) with(most_recent=true)')
    page.get_by_role("button", name="What differs").click()
    page.locator(".differences tbody tr", has_text="us").first.wait_for()
    assert len(asked) == 1
    visit.open('ui/search?q={ name = "GET /buy" } >> { name = "retry" }')
    button = page.get_by_role("button", name="What differs")
    button.wait_for()
    assert button.is_disabled() and "one filter" in button.get_attribute("title")
    visit.open('ui/search?q={ name = "GET /buy" } | count() > 0&differs=1')
    page.get_by_text("What differs works for queries of one filter { … } alone.").wait_for()
    button.click()
    page.wait_for_url(lambda url: "differs" not in url)
    assert len(asked) == 1
    visit.check()


def test_error_that_is_farthest_from_the_root_is_told(visit, bought):
    server, _ = bought
    trace, start, failed = os.urandom(16), time.time_ns() - 30 * 10**9, Status(code=Status.STATUS_CODE_ERROR)
    span = lambda name, at, duration, parent=None: otlp.span(
        trace, name=name, start=start + at * MS, duration=duration * MS, status=failed, parent_span_id=parent.span_id if parent else b"")
    root = span("POST /checkout", 0, 1_000)
    pay = span("POST /pay", 20, 900, root)
    server.must_push(otlp.export(root, span("cache get", 1, 5, root), pay, span("POST /bank", 30, 800, pay), service="checkout"))
    eventually(lambda: server.get(f"/api/traces/{trace.hex()}").status_code == 200, "the trace is there")
    page = visit.open(f"ui/trace/{trace.hex()}")
    page.locator(".findings", has_text="the error begins in checkout POST /bank; 4 spans failed").wait_for()
    visit.check()


def test_what_differs_is_told_of_a_box_of_the_heatmap(visit, bought):
    page = visit.open("ui/services?service=shop")
    plot = page.locator(".heatmap canvas")
    plot.wait_for()
    # The upper lines, over the whole time.
    drag(page, plot, (0.002, 0.01), (0.998, 0.4))
    page.get_by_role("button", name="What differs").click()
    page.locator(".differences tbody tr", has_text="resource.region").wait_for()
    assert "5 spans of the selection against 20 others" in page.locator(".differences").inner_text()
    visit.check()

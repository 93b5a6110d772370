"""Metrics, heatmaps, differences and costs on the pages, and the streams they are made of."""
import json
import os
import time
import urllib.parse

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harness import otlp
from harness.browser import Visit, serving_pages, settled
from harness.looking import drag
from harness.orders import pushed
from harness.waiting import eventually

MS, SECOND = otlp.MILLISECOND, 10**9
SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}},
}
EVENTS, COMPACT = "text/event-stream", "application/vnd.tactus.series+json"
HISTOGRAM = "{ kind = server } | histogram_over_time(duration) with(buckets=4)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-explore"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    return pushed(server, time.time_ns() - 20 * SECOND)


def ask(**values):
    return urllib.parse.urlencode(values)


def parameters(page):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))


def around(orders):
    """Some minutes with the trace, without those that came after it."""
    second = orders.base // SECOND
    return {"start": second - 300, "end": second + 10}


def events(server, path, accept, **params):
    """Names and data of all events of a stream."""
    answer = server.get(path, accept=accept, **params)
    assert answer.headers["content-type"] == EVENTS, answer.text
    found = []
    for event in answer.text.split("\n\n"):
        lines = [line.split(": ", 1) for line in event.splitlines() if not line.startswith(":")]
        if lines:
            found.append((lines[0][1], json.loads(lines[1][1])))
    return found


@pytest.mark.parametrize("path,params,said", [
    # Exemplars are chosen at random.
    ("metrics/query_range", {"q": "{ } | rate() by (resource.service.name) with (exemplars=false)", "step": "10s"}, "payment"),
    ("metrics/query", {"q": "{ } | quantile_over_time(duration, .5, .9) by (name)"}, "SELECT items"),
    ("search/tags", {}, "http.route"),
    ("v2/search/tags", {}, "region"),
    ("search/tag/service.name/values", {}, "payment"),
    ("v2/search/tag/resource.service.name/values", {}, "payment"),
])
def test_stream_ends_with_the_answer(server, orders, path, params, said):
    params |= around(orders)
    name, last = events(server, f"/ui/api/{path}", EVENTS, **params)[-1]
    whole = server.get(f"/ui/api/{path}", **params).json()
    for answer in (last, whole):
        # Bytes that were read may come from a cache the second time.
        answer.pop("metrics")
    assert name == "complete" and last == whole and said in json.dumps(whole), whole


def test_compact_series_are_those_of_the_api(server, orders):
    params = {"q": "{ } | count_over_time() by (name)", "step": "10s", "exemplars": 20, **around(orders)}
    plain = server.get("/ui/api/metrics/query_range", **params)
    compact = server.get("/ui/api/metrics/query_range", accept=COMPACT, **params)
    assert compact.headers["content-type"] == COMPACT and len(compact.content) < len(plain.content) / 3
    answer = compact.json()
    for series, expected in zip(answer["series"], plain.json()["series"], strict=True):
        times = [answer["start"] + answer["step"] * n for n in range(len(series["values"]))]
        found = [(moment, value) for moment, value in zip(times, series["values"]) if value is not None]
        assert found == [(int(sample["timestampMs"]), sample.get("value", 0)) for sample in expected["samples"]]
        assert series["labels"] == {label["key"]: label["value"]["stringValue"] for label in expected["labels"]}
    exemplars = [one for series in answer["series"] for one in series.get("exemplars", [])]
    assert orders.hex in {trace.zfill(32) for _, _, trace, _ in exemplars}, exemplars
    name, last = events(server, "/ui/api/metrics/query_range", f"{EVENTS}, {COMPACT}", **params)[-1]
    assert name == "complete" and last["series"] and all("values" in series for series in last["series"])


def test_finer_buckets_make_better_estimates(server, orders):
    def value(hint):
        q = '{ name = "charge" && resource.service.name = "payment" } | quantile_over_time(duration, .5)' + hint
        return server.get("/ui/api/metrics/query", q=q, **around(orders)).json()["series"][0]["value"]

    assert value("") == pytest.approx(2.147, abs=0.001)
    assert 1.1 <= value(" with(buckets=4)") < 1.1 * 2 ** .25
    q = '{ name = "charge" } | histogram_over_time(duration) with(buckets=4)'
    bounds = [label["value"]["doubleValue"] for series in server.get(
        "/ui/api/metrics/query", q=q, **around(orders)).json()["series"] for label in series["labels"]]
    assert len(bounds) == 1 and bounds[0] == pytest.approx(2 ** (30 + .25) / 1e9)


def test_explore_reads_a_stream_of_compact_series(visit, orders):
    page = visit.open("ui/explore")
    page.fill("#query", "{ } | rate() by (resource.service.name)")
    with page.expect_response("**/ui/api/metrics/query_range?*") as stream:
        page.press("#query", "Enter")
    assert stream.value.headers["content-type"] == EVENTS
    assert COMPACT in stream.value.request.headers["accept"]
    page.locator(".plot canvas").wait_for()
    assert page.locator("tbody tr").count() >= 3
    page.locator(".streaming").wait_for(state="detached")
    page.get_by_role("button", name="Highest").click()
    page.wait_for_url("**sort=-max*")
    assert "database" in page.locator("tbody tr").first.inner_text()
    page.get_by_role("button", name="Highest").click()
    assert "database" in page.locator("tbody tr").last.inner_text()
    visit.check()


@pytest.mark.parametrize("path,first,second,asked", [
    ("explore", "{ } | rate()", "{ } | rate() by (name)", 1),
    ("map", "{ kind = server }", "{ kind = client }", 2),
])
def test_query_that_is_changed_and_run_is_asked_for_the_range_until_now(visit, orders, path, first, second, asked):
    page = visit.open(f"ui/{path}?{ask(q=first)}")
    ends = []
    with page.expect_response("**/ui/api/metrics/*"):
        page.reload()
    page.locator("main [role=status]", has_text="reading…").wait_for(state="detached")
    page.on("request", lambda request: ends.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.url).query))["end"])
            if "/ui/api/metrics/" in request.url else None)
    page.evaluate("() => { const before = Date.now; Date.now = () => before() + 600_000; }")
    page.fill("#query", second)
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(lambda url: parameters(page)["q"] == second)
    # The address may change before anything is asked.
    eventually(lambda: page.evaluate("1") and len(ends) >= asked, "the server is asked")
    page.wait_for_load_state("networkidle")
    assert len(ends) == asked and all(int(end) > time.time() + 500 for end in ends), ends
    visit.check()


@pytest.mark.parametrize("path,button", [("explore", "Run"), ("services", "Load again"), ("map", "Run")])
def test_range_that_is_fixed_is_asked_for_again(visit, orders, path, button):
    second = orders.base // SECOND
    q = {"explore": {"q": "{ } | rate()"}}.get(path, {})
    page = settled(visit.open(f"ui/{path}?" + ask(**q, **{"from": second - 300, "to": second + 300})))
    with page.expect_request("**/ui/api/metrics/*"):
        page.get_by_role("button", name=button, exact=True).click()
    visit.check()


def test_dragging_over_a_plot_zooms(visit, orders):
    page = visit.open("ui/explore?" + ask(q="{ } | rate()", range="5m"))
    page.locator(".streaming").wait_for(state="detached")
    drag(page, page.locator(".plot .u-over"), (.5, .5), (.99, .5))
    page.wait_for_url("**from=*")
    now = parameters(page)
    assert 100 <= int(now["to"]) - int(now["from"]) <= 200 and "range" not in now, now
    visit.check()


def test_box_of_a_histogram_leads_to_its_traces(visit, orders):
    page = visit.open("ui/explore?" + ask(q=HISTOGRAM, range="5m"))
    cells = page.locator(".heatmap .cells")
    cells.wait_for()
    page.locator(".streaming").wait_for(state="detached")
    with page.expect_download() as kept:
        page.get_by_role("button", name="PNG").click()
    assert kept.value.path().read_bytes().startswith(b"\x89PNG")
    # The slowest is the order: the upper lines have it alone.
    drag(page, cells, (.01, .02), (.99, .1))
    link = page.get_by_role("link", name="show traces")
    assert "1 of" in link.inner_text(), link.inner_text()
    link.click()
    page.wait_for_url("**/ui/search?*")
    shown = parameters(page)
    assert shown["q"].startswith("{ kind = server && duration > 1") and "duration <= 2" in shown["q"], shown
    page.locator(".results a", has_text="POST /orders").wait_for()
    assert page.locator(".results tbody tr").count() == 1
    page.go_back()
    cells.wait_for()
    drag(page, cells, (.8, .5), (.99, .1))
    page.get_by_role("button", name="zoom in").click()
    page.wait_for_url("**from=*")
    visit.check()


def test_small_box_has_the_spans_that_are_drawn_there(visit, server, orders):
    """A column of the heatmap is the step that the server counted, and the search finds what it counted."""
    base = time.time_ns() - 25 * SECOND
    traces = [os.urandom(16) for _ in range(2)]
    for number, trace in enumerate(traces):
        server.must_push(otlp.export(
            otlp.span(trace, name="tick", kind=SERVER, duration=40 * MS, start=base + number * 12 * SECOND), service="clock"))
    second = base // SECOND
    q = '{ name = "tick" } | histogram_over_time(duration) with(buckets=4)'
    found = {}
    eventually(lambda: server.get(
        "/ui/api/metrics/query", q='{ name = "tick" } | count_over_time()', start=second - 5, end=second + 20,
    ).json()["series"][0]["value"] == 2, "both are counted")
    page = visit.open("ui/explore?" + ask(**{"q": q, "from": second - 5, "to": second + 20}))
    cells = page.locator(".heatmap .cells")
    cells.wait_for()
    page.locator(".streaming").wait_for(state="detached")
    for number, trace in enumerate(traces):
        # 25 columns of a second; a span that starts just on a second may count in the one before.
        middle = (5.5 + 12 * number) / 25
        drag(page, cells, (middle - .04, .01), (middle + .04, .99))
        page.get_by_role("link", name="1 of").click()
        page.locator(f".results a[href$='{trace.hex()}']").wait_for()
        found[number] = page.locator(".results tbody tr").count()
        page.go_back()
        cells.wait_for()
        page.locator(".streaming").wait_for(state="detached")
    assert found == {0: 1, 1: 1}
    visit.check()


def test_series_are_shown_as_heatmap_and_as_table(visit, orders):
    page = visit.open("ui/explore?" + ask(q="{ } | count_over_time() by (name)", range="5m"))
    page.locator(".plot canvas").wait_for()
    page.get_by_role("button", name="Heatmap").click()
    page.wait_for_url("**view=heatmap")
    assert "name=SELECT items" in page.locator(".heatmap .scale").inner_text()
    page.get_by_role("button", name="Table").click()
    page.locator("th", has_text="name=charge").wait_for()
    column = page.locator("thead th").all_inner_texts().index("name=SELECT items")
    values = [row.locator("td").nth(column).inner_text() for row in page.locator("tbody tr").all()]
    assert sum(int(value.replace(",", "")) for value in values) == 100, values
    page.reload()
    page.locator("th", has_text="name=charge").wait_for()
    visit.check()


def test_box_of_a_service_leads_to_its_traces(visit, orders):
    page = visit.open("ui/services?" + ask(service="payment", range="5m"))
    page.locator("tbody tr", has_text="charge").wait_for()
    cells = page.locator(".heatmap .cells")
    cells.wait_for()
    assert "≈" not in page.locator("tbody tr", has_text="charge").inner_text()
    before = cells.bounding_box()
    drag(page, cells, (.01, .02), (.99, .98))
    page.get_by_role("link", name="show traces").wait_for()
    assert cells.bounding_box() == before, "what is drawn on stays where it is"
    page.wait_for_url("**box=**")
    address = page.url
    cells.click(button="right", position={"x": 20, "y": 10})
    assert page.url == address, "only the main button draws"
    page.get_by_role("link", name="show traces").click()
    page.locator(".results a", has_text="POST /orders").wait_for()
    assert 'resource.service.name = "payment"' in parameters(page)["q"]
    visit.check()


def test_map_shows_the_difference_of_two_windows(visit, server, orders):
    now = time.time_ns()

    def call(start, callee, duration):
        trace, client = os.urandom(16), os.urandom(8)
        server.must_push(otlp.export(
            otlp.span(trace, client, "call", start, duration, kind=CLIENT), service="desk"))
        server.must_push(otlp.export(otlp.span(
            trace, os.urandom(8), "serve", start, duration, kind=SERVER, parent_span_id=client), service=callee))

    for seconds, callee, duration in [
            (50, "stock", 10 * MS), (50, "old-mail", 10 * MS), (20, "stock", 80 * MS), (20, "new-mail", 10 * MS)]:
        call(now - seconds * SECOND, callee, duration)
    second = now // SECOND
    graph = {"q": '{ resource.service.name = "desk" }', "from": second - 30, "to": second}
    eventually(lambda: all(
        server.get("/ui/api/metrics/query", q=graph["q"] + " | service_graph(calls)",
                   start=second - back, end=second - back + 30).json().get("series", [{}, {}])[1:]
        for back in (30, 60)), "both windows have two calls")
    page = visit.open("ui/map?" + ask(**graph))
    page.locator("tbody tr", has_text="new-mail").wait_for()
    assert page.locator("tbody tr").count() == 2
    page.get_by_label("Compare with").select_option("the time before")
    page.wait_for_url("**against=before*")
    page.locator("tbody tr", has_text="old-mail").wait_for()
    turns = {name: page.locator("tbody tr", has_text=name).locator("td").nth(2).inner_text()
             for name in ("stock", "new-mail", "old-mail")}
    assert turns == {"stock": "worse", "new-mail": "new", "old-mail": "gone"}
    assert page.locator(".edge.worse text").count() == 1 and page.locator(".edge.gone").count() == 1
    assert page.locator("tbody tr").first.inner_text().count("stock") == 1
    page.locator(".map a", has_text="stock").click()
    page.wait_for_url("**focus=stock*")
    page.locator("tbody tr", has_text="new-mail").wait_for(state="detached")
    page.get_by_label("within").select_option("2 calls")
    page.wait_for_url("**hops=2*")
    page.locator("tbody tr", has_text="new-mail").wait_for()
    # There are none of a call that is gone in the range of the page.
    page = visit.open("ui/map?" + ask(against="before", **graph))
    page.locator("tbody tr", has_text="old-mail").locator("a").click()
    page.locator(".results a", has_text="call").wait_for()
    assert (parameters(page)["from"], parameters(page)["to"]) == (f"{second - 60}", f"{second - 30}")
    visit.check()


def test_map_leads_to_the_spans_of_who_sent_some_and_to_one_service(visit, server, orders):
    page = visit.open("ui/map?" + ask(range="5m", q='{ resource.service.name =~ "shop|payment|database" }'))
    row = page.locator("tbody tr", has_text="user")
    row.wait_for()
    assert "user sent no spans" in row.locator("td").first.inner_text()
    assert "sent no spans" not in row.locator("td").nth(1).inner_text()
    page.get_by_role("combobox", name="Calls from and to").select_option("payment")
    page.wait_for_url("**focus=payment*")
    row.wait_for(state="detached")
    page.get_by_role("combobox", name="Calls from and to").select_option("all services")
    row.locator("a").click()
    page.wait_for_url("**/ui/search?*")
    page.locator(".results a", has_text="POST /orders").first.wait_for()
    page = visit.open("ui/map?" + ask(q="{ } | rate()"))
    page.locator(".problem", has_text="a filter of spans is wanted here").wait_for()
    page.locator("main .error").wait_for(state="detached")
    visit.check()


def test_call_on_the_map_leads_to_its_own_spans(visit, server):
    start = time.time_ns() - 30 * SECOND
    for database in ("redis", "postgresql"):
        server.must_push(otlp.export(
            otlp.span(name=f"ask {database}", start=start, kind=CLIENT, attributes={"db.system": database}), service="till"))
    trace, sent = os.urandom(16), os.urandom(8)
    server.must_push(otlp.export(
        otlp.span(trace, sent, "send mail", start, kind=Span.SPAN_KIND_PRODUCER), service="till"))
    server.must_push(otlp.export(
        otlp.span(trace, name="take mail", start=start, kind=Span.SPAN_KIND_CONSUMER, parent_span_id=sent), service="mailer"))
    for called, name in (("redis", "ask redis"), ("postgresql", "ask postgresql"), ("mailer", "send mail")):
        page = settled(visit.open("ui/map?" + ask(range="5m", q='{ resource.service.name = "till" }')))
        page.locator("tbody tr", has_text=called).locator("a").click()
        page.locator(".results a", has_text=name).wait_for()
        assert page.locator(".results tbody tr").count() == 1, called
    visit.check()


def test_error_of_a_query_is_told_once(visit, server):
    visit.expect("400")
    for path in ("search", "explore", "map", "live"):
        page = visit.open(f"ui/{path}?" + ask(q="{ name = } "))
        page.locator(".problem p").wait_for()
        page.wait_for_load_state("networkidle")
        page.locator("main [role=alert]").wait_for(state="detached")
    visit.check()


def test_value_that_a_selection_lacks_leads_to_those_that_have_it(visit, server):
    base = time.time_ns() - 10 * SECOND
    for number in range(60):
        zone = "east" if number < 30 else "west"
        server.must_push(otlp.export(otlp.span(
            name="zoned", kind=SERVER, start=base + number * MS, duration=(500 if number < 30 else 5) * MS), service="zones",
            resource={"zone": zone}))
    q = '{ resource.service.name = "zones" && duration > 100ms }'
    eventually(lambda: len(server.get("/api/search", q=q, limit=100).json()["traces"]) == 30, "all are found")
    page = visit.open("ui/search?" + ask(q=q, differs="1"))
    page.locator(".differences a", has_text="west").click()
    page.wait_for_url("**west*")
    page.locator(".results a", has_text="zoned").first.wait_for()
    visit.check()


def test_cost_of_a_query_is_told_before_it_runs(visit, server, orders):
    server.flush()
    check = {"q": "{ status = error }", **around(orders)}
    estimate = eventually(lambda: [one for one in [server.get("/ui/api/check", **check).json()["estimate"]] if one["blocks"]],
                          "a block is listed")[0]
    assert 0 < estimate["bytes"] <= estimate["ofBytes"] and estimate["blocks"] <= estimate["ofBlocks"]
    nothing = server.get("/ui/api/check", q="{ }", start=1_000_000_000, end=1_000_000_100).json()["estimate"]
    assert (nothing["blocks"], nothing["bytes"], nothing["ofBlocks"]) == (0, 0, estimate["ofBlocks"])
    metrics = server.get("/ui/api/check", q="{ } >> { } | rate()", start=check["start"], end=check["end"]).json()
    assert metrics["estimate"]["blocks"] and metrics["plan"] == {"readsWholeTraces": True}
    assert "estimate" not in server.get("/ui/api/check", q="{ }", start=1, end=1_700_000_000).json(), "it would be refused"
    page = visit.open("ui/search")
    with page.expect_response("**/ui/api/check?*"):
        page.fill("#query", "{ status = error }")
    page.locator(".cost", has_text="Would read at most").wait_for()
    assert page.locator(".results").count() == 0, "nothing has run"
    page.fill("#query", "{ } >> { status = error }")
    page.locator(".cost", has_text="looks at whole traces").wait_for()
    visit.check()


PAGES = {
    "histogram": "ui/explore?" + ask(q=HISTOGRAM), "series": "ui/explore?" + ask(q="{ } | rate() by (name)", view="heatmap"),
    "table": "ui/explore?" + ask(q="{ } | rate() by (name)", view="table"),
    "difference": "ui/map?" + ask(against="before"), "services": "ui/services",
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme,width", [("light", 1440), ("dark", 390)])
def test_pages_are_accessible(browser, server, orders, name, theme, width):
    made = Visit(browser, server.url, color_scheme=theme, viewport={"width": width, "height": 850})
    try:
        page = made.open(PAGES[name])
        page.locator("main table").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.locator("main", has_text="reading…").wait_for(state="detached")
        assert made.axe() == []
        made.check()
    finally:
        made.close()

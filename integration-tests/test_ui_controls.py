"""What one does on the pages besides reading: the minimap, recent queries, slow ones; and pages that come over a network."""
import os
import time
import urllib.parse
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from harness import otlp, tools
from harness.browser import Visit, serving_pages, settled, written_query
from harness.looking import drag
from harness.orders import pushed
from harness.waiting import eventually

CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}, "query_log": {"slow_after": "1ms"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-controls"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    return pushed(server, time.time_ns() - 20 * 10**9)


def test_minimap_shows_a_part_of_the_trace_and_all_again(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    minimap = page.locator(".minimap")
    widths = lambda: [round(box["width"]) for box in
                      (side.bounding_box() for side in minimap.locator(".outside").all())]
    assert widths() == [0, 0]
    whole = minimap.bounding_box()["width"]
    drag(page, minimap, (0.5, 0.5), (0.75, 0.5))
    page.wait_for_url("**from=*")
    left, right = widths()
    assert abs(left - whole / 2) < 5 and abs(right - whole / 4) < 5, (left, right, whole)
    page.reload()
    page.locator(".span-row").first.wait_for()
    assert widths() == [left, right], "the address has the part that is shown"
    minimap.dblclick(position={"x": whole / 2, "y": 5})
    assert widths() == [0, 0]
    page.mouse.down(button="right")
    page.mouse.move(minimap.bounding_box()["x"] + 10, minimap.bounding_box()["y"] + 5, steps=3)
    page.mouse.up(button="right")
    assert widths() == [0, 0], "only the main button draws"
    visit.check()


# What is printed: its lines, the last of them, and what a bar and the page are filled with.
PRINTED = """() => addEventListener("beforeprint", () => {
  const lines = [...document.querySelectorAll(".span-row:not([hidden])")];
  window.printed = [lines.length, lines.at(-1).innerText, lines.at(-1).querySelector(".bar-of-span").hidden];
})"""
FILLED = """() => [document.body, document.querySelector(".bar-of-span")].map((element) => getComputedStyle(element))
  .map((style) => [style.printColorAdjust, style.backgroundColor])"""


def test_trace_is_printed_with_all_lines_and_their_bars_on_white(browser, server):
    trace, start = os.urandom(16), time.time_ns() - 20 * 10**9
    spans = [otlp.span(trace, span_id=n.to_bytes(8, "big"), name=f"line {n}", start=start + n, duration=5_000 - n,
                       parent_span_id=(n - 1).to_bytes(8, "big") if n > 1 else b"") for n in range(1, 301)]
    server.must_push(otlp.export(*spans))
    eventually(lambda: server.get(f"/api/traces/{trace.hex()}").status_code == 200, "the trace is there")
    visit = Visit(browser, server.url, color_scheme="dark")
    try:
        page = settled(visit.open(f"ui/trace/{trace.hex()}"))
        page.locator(".span-row").first.wait_for()
        shown = page.locator(".span-row:not([hidden])").count()
        page.evaluate(PRINTED)
        page.pdf()
        count, last, is_empty = page.evaluate("window.printed")
        assert count == 300 > shown and "line 300" in last and not is_empty, (count, last)
        page.wait_for_function("count => document.querySelectorAll('.span-row:not([hidden])').length === count", arg=shown)
        page.emulate_media(media="print")
        [adjusted, paper], [of_bar, bar] = page.evaluate(FILLED)
        assert [adjusted, of_bar, paper] == ["exact", "exact", "rgb(255, 255, 255)"] and bar != "rgba(0, 0, 0, 0)"
        assert page.get_by_role("button", name="Copy link").count() == 0
        visit.check()
    finally:
        visit.close()


# The second row is so high, and as far below the first.
ROWS_ARE = """height => {
  const [first, second] = [0, 1].map(at => document.querySelector(`.span-row[data-at="${at}"]`)?.getBoundingClientRect());
  return first && second && second.height === height && second.y - first.y === height;
}"""


def test_rows_are_as_high_as_somebody_likes_and_stay_so(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.wait_for_function(ROWS_ARE, arg=24)
    switch = page.get_by_role("button", name="rows:")
    assert switch.inner_text() == "rows: normal"
    for text, height in (("rows: roomy", 28), ("rows: compact", 20)):
        switch.click()
        page.wait_for_function(ROWS_ARE, arg=height)
        assert switch.inner_text() == text
    page.reload()
    page.wait_for_function(ROWS_ARE, arg=20)
    visit.check()


def test_names_are_as_wide_as_somebody_likes_and_stay_so(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    ruler, divider = page.locator(".ruler"), page.get_by_role("separator", name="Width of names")
    width = lambda: page.evaluate("document.querySelector('.span-row .name').getBoundingClientRect().width")
    usual, whole = width(), ruler.bounding_box()["width"]
    handle = divider.bounding_box()
    middle = (handle["x"] + handle["width"] / 2 - ruler.bounding_box()["x"]) / whole
    drag(page, ruler, (middle, 0.5), (0.6, 0.5))
    eventually(lambda: abs(width() - whole * 0.6) < 20, "names are as wide as the divider was dragged")
    dragged = width()
    divider.press("ArrowLeft")
    eventually(lambda: width() < dragged, "an arrow moves it")
    kept = width()
    page.reload()
    page.locator(".span-row").first.wait_for()
    assert abs(width() - kept) < 2, "it stays after a reload"
    divider.dblclick()
    eventually(lambda: abs(width() - usual) < 2, "a double click brings the usual width")
    visit.check()


def test_spans_are_folded_and_opened_at_once(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    count = lambda: page.locator(".span-row:not([hidden])").count()
    every = count()
    page.get_by_role("button", name="fold all").click()
    eventually(lambda: 1 < count() < every, "the first spans and what they called are left")
    page.wait_for_url("**folded=all")
    folded = count()
    page.reload()
    page.get_by_role("button", name="open all").wait_for()
    assert count() == folded
    page.get_by_role("button", name="open all").click()
    eventually(lambda: count() == every, "all are there again")
    visit.check()


def test_queries_that_were_run_are_offered(visit, orders):
    page = visit.open()
    for query in ('{ name = "charge" }', '{ name = "POST /orders" }'):
        page.fill("#query", query)
        page.press("#query", "Enter")
        page.locator(".results a").first.wait_for()
        remembered = "JSON.parse(localStorage.getItem('tactus.recent') ?? '[]')"
        eventually(lambda: query in page.evaluate(remembered), "the query is remembered")
    page = visit.open()
    page.focus("#query")
    page.locator("#query.cm-content").wait_for()
    page.keyboard.press("Control+Space")
    offered = page.locator(".cm-tooltip-autocomplete li")
    offered.first.wait_for()
    assert ["POST /orders" in offered.nth(0).inner_text(), "charge" in offered.nth(1).inner_text()] == [True, True]

    def is_selected():
        """The editor leaves out keys that come in the moment in which the list opens, and a busy browser may close it."""
        if offered.count() < 2:
            page.keyboard.press("Control+Space")
            return False
        page.keyboard.press("ArrowDown")
        return offered.nth(1).get_attribute("aria-selected") == "true"

    eventually(is_selected, "the second one is selected")
    page.keyboard.press("Enter")
    assert written_query(page) == '{ name = "charge" }'
    visit.check()


def test_slow_queries_are_listed_with_their_plan(visit, server, orders):
    server.search('{ name = "charge" && status = error }')
    page = visit.open("ui/status")
    row = page.locator("section[aria-labelledby=slow] tbody tr", has_text="charge").first
    row.locator("summary").click()
    row.get_by_text("evaluated on columns only").first.wait_for()
    visit.check()


def test_more_series_than_colours_look_different(visit, server):
    base = time.time_ns() - 10 * 10**9
    server.must_push(otlp.export(*(otlp.span(name=f"kind {n}", start=base) for n in range(20)), service="many"))
    page = visit.open('ui/explore?q={ resource.service.name = "many" } | rate() by (name)&range=5m')
    rows = page.locator("tbody tr", has=page.locator(".swatch"))
    rows.nth(19).wait_for()
    looks = [swatch.get_attribute("class") for swatch in rows.locator(".swatch").all()]
    assert len(set(looks)) == 20, looks
    for kind in ("Bars", "Lines"):
        page.get_by_role("button", name=kind).click()
        page.locator(".plot canvas").wait_for()
    visit.check()


def test_first_view_is_small_under_a_name_that_is_not_loopback(browser, server, orders):
    # A browser trusts loopback as it trusts TLS; elsewhere over plain HTTP it accepts gzip, and has no clipboard.
    rules = f"--host-resolver-rules=MAP tactus.test 127.0.0.1"
    remote = browser.browser_type.launch(executable_path=tools.need("chromium"), args=["--no-sandbox", rules])
    try:
        made = Visit(remote, server.url.replace("127.0.0.1", "tactus.test"))
        client = made.context.new_cdp_session(made.page)
        client.send("Network.enable")
        sizes, encodings = [], set()
        client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        made.page.on("response", lambda response: encodings.add(response.headers.get("content-encoding")))
        page = made.open()
        page.locator("#query").wait_for()
        page.wait_for_load_state("networkidle")
        assert 5_000 < sum(sizes) < 115 * 1024 and "gzip" in encodings and "br" not in encodings, (sizes, encodings)
        assert not page.evaluate("isSecureContext")
        page.fill("#query", '{ name = "charge" }')
        page.press("#query", "Enter")
        page.locator(".results a", has_text="POST /orders").click()
        page.locator(".span-row", has_text="charge").first.wait_for()
        made.check()
    finally:
        remote.close()


OPACITY = """(canvas, [x, y]) => {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  return canvas.getContext("2d").getImageData((x - box.left) * scale, (y - box.top) * scale, 1, 1).data[3];
}"""


@pytest.mark.parametrize("path,plot,told,step", [
    ("search?q={ %s }", ".charts svg[role=img]", ".charts .pointed", 7),
    ("explore?q={ %s } | count_over_time()&view=bar", ".plot .u-over", ".readout", 6),
])
def test_bar_stands_where_its_spans_are_and_zooming_into_it_finds_them(visit, server, path, plot, told, step):
    is_search = path.startswith("search")
    name, second = f"tock of {path[:6]}", time.time_ns() // 10**9 - 30
    span = otlp.span(name=name, start=second * 10**9 + 500 * otlp.MILLISECOND)
    server.must_push(otlp.export(span, service="clock"))
    q = f'name = "{name}"'
    # Steps are whole multiples: the first begins before the range.
    began, ended = second - 577, second + 26
    began += began % step == 0
    count = lambda: server.get("/ui/api/metrics/query", q=f"{{ {q} }} | count_over_time()", start=began, end=ended).json()["series"]
    eventually(lambda: count() and count()[0]["value"] == 1, "it is counted")
    page = settled(visit.open(f"ui/{path % q}&from={began}&to={ended}"))
    page.locator(".charts[aria-busy=false]" if is_search else ".plot canvas").wait_for()
    page.locator(".streaming").wait_for(state="detached")
    box = page.locator(plot).first.bounding_box()
    # Charts show whole steps, plots the range.
    left, right = (began // step * step, -(-ended // step) * step) if is_search else (began, ended)
    of_step = box["width"] * step / (right - left)
    middle = box["x"] + box["width"] * (second // step * step + step / 2 - left) / (right - left)
    page.mouse.move(middle - of_step / 2 + 2, box["y"] + box["height"] / 2)
    shown = lambda: page.locator(told).first.inner_text()
    eventually(lambda: ("all " in shown() and "all 0/s" not in shown()) if is_search else shown().rstrip().endswith(" 1"), "it is told")
    if not is_search:
        at = [middle - of_step * .3, box["y"] + box["height"] - 3]
        assert page.locator(".plot canvas").evaluate(OPACITY, at) > 0, "no bar is drawn where the step begins"
    page.mouse.down()
    page.mouse.move(middle + of_step / 2 - 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    page.wait_for_url(lambda url: f"from={began}" not in url)
    now = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))
    assert [int(now["from"]), int(now["to"])] == [second // step * step, second // step * step + step]
    page = settled(page)
    if is_search:
        page.locator(f".results a[href$='{span.trace_id.hex()}']").wait_for()
    else:
        page.locator("tbody tr", has_text="count_over_time").wait_for()
    visit.check()


def test_hour_that_a_clock_goes_through_twice_stays_as_it_was_asked_for(browser, server):
    zone, hour = ZoneInfo("Europe/Berlin"), time.time_ns() // 10**9 // 3_600 * 3_600
    offset = lambda seconds: datetime.fromtimestamp(seconds, zone).utcoffset()
    while offset(hour - 1) <= offset(hour):
        hour -= 3_600
    made = Visit(browser, server.url, timezone_id="Europe/Berlin")
    page = settled(made.open(f"ui/explore?from={hour - 600}&to={hour + 600}"))
    assert page.locator(".times .muted").all_inner_texts() == ["UTC+2", "UTC+1"]
    page = settled(made.open(f"ui/explore?from={hour + 60}&to={hour + 600}"))
    assert page.locator(".times .muted").all_inner_texts() == ["UTC+1"]
    asked = page.url
    for label in ("From", "To"):
        page.get_by_label(label, exact=True).focus()
        page.get_by_label(label, exact=True).blur()
    assert page.url == asked
    made.check()
    made.close()


def test_lines_stay_where_they_are_when_one_of_them_is_opened_or_folded(visit, server):
    trace, start = os.urandom(16), time.time_ns() - 60 * 10**9
    root = otlp.span(trace, name="root", start=start, duration=10**10)
    spans = [root]
    for n in range(100):
        step = otlp.span(trace, name=f"step {n}", start=start + n * 10**7, duration=10**7, parent_span_id=root.span_id)
        part = otlp.span(trace, name="part", start=step.start_time_unix_nano, duration=10**6, parent_span_id=step.span_id)
        spans += [step, part]
    last = otlp.span(trace, name="loop", start=start + 9 * 10**9, duration=10**9, parent_span_id=root.span_id)
    spans += [last, *(otlp.span(trace, name="SELECT", start=start + 9 * 10**9 + n, duration=10, parent_span_id=last.span_id) for n in range(50))]
    server.must_push(otlp.export(*spans))
    eventually(lambda: server.get(f"/api/traces/{trace.hex()}").status_code == 200, "the trace")
    page = visit.open(f"ui/trace/{trace.hex()}")
    page.locator(".span-row", has_text="step 1").first.click()
    page.locator(".details h3", has_text="Resource").wait_for()
    rows = page.locator("[role=treegrid]")
    rows.evaluate("element => { element.scrollTop = element.scrollHeight }")
    run = page.locator(".span-row:visible", has_text="×50").first
    before = run.bounding_box()["y"]
    run.click()
    page.wait_for_url("**open=*")
    top = rows.evaluate("element => element.scrollTop")
    assert top > 1_000 and abs(page.locator(".span-row:visible", has_text="×50").first.bounding_box()["y"] - before) < 2
    fold = page.locator(".span-row:visible", has_text="step 9").first.locator(".fold")
    before = fold.bounding_box()["y"]
    fold.click()
    page.wait_for_url("**folded=*")
    assert abs(fold.bounding_box()["y"] - before) < 2
    # An arrow key goes on from what is selected, and brings it into view.
    page.keyboard.press("ArrowDown")
    eventually(lambda: rows.evaluate("element => element.scrollTop") < 500, "the list is at what is selected")
    visit.check()


def test_whoever_leaves_before_the_median_is_found_stays_where_they_went(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    with page.expect_request("**/ui/api/search?**") as asked:
        held = []
        page.route("**/ui/api/search?**", lambda route: held.append(route))
        page.get_by_role("button", name="Compare with the median").click()
    with page.expect_event("requestfailed", lambda request: request == asked.value):
        page.get_by_role("link", name="Status").click()
    page.get_by_role("heading", name="Status").first.wait_for()
    assert page.url.endswith("/ui/status")
    visit.check()

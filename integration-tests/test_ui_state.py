"""What somebody does who comes and goes: ids from elsewhere, steps back, other tenants and ranges, small windows."""
import os
import time
import urllib.parse
from datetime import datetime, timedelta, timezone

import pytest

from harness import otlp
from harness.browser import Visit, appearance, need_pages, serving_pages, settled, written_query
from harness.fault_proxy import FaultProxy
from harness.orders import pushed
from harness.waiting import eventually

CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}},
}
EVERYTHING = "ui/search?q=%7B%20%7D"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-state"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    return pushed(server, time.time_ns() - 20 * 10**9)


def parameters(page):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))


@pytest.mark.parametrize("written", ["0x{id}", "{ID}", "00-{id}-0000000000000002-01"])
def test_trace_id_opens_however_it_is_written(visit, orders, written):
    page = visit.open()
    page.fill("#query", written.format(id=orders.hex, ID=orders.hex.upper()))
    page.press("#query", "Enter")
    page.wait_for_url(f"**/ui/trace/{orders.hex}*")
    page.locator(".span-row").first.wait_for()
    if "-" in written:
        page.locator(".span-row.selected", has_text="charge").wait_for()
    visit.check()


def test_trace_id_without_its_leading_zeros_opens_when_the_trace_has_come(visit, server):
    trace = bytes(12) + os.urandom(3) + b"\7"
    short = trace.hex().lstrip("0")
    page = visit.open()
    page.fill("#query", "0x" + short)
    page.press("#query", "Enter")
    page.get_by_text("No trace with this id is stored.").wait_for()
    server.must_push(otlp.export(otlp.span(trace, name="late")))
    eventually(lambda: server.get(f"/api/traces/{trace.hex()}").status_code == 200, "the trace is there")
    page.get_by_role("button", name="Try again").click()
    page.locator(".span-row", has_text="late").wait_for()
    assert page.title() == "shop late – Tactus"
    visit.expect("404")
    visit.check()


def test_first_page_offers_examples_and_what_was_asked_before(visit, orders):
    settled(visit.open('ui/search?q={ name = "charge" }'))
    page = visit.open("ui/search?range=3h")
    page.get_by_role("link", name='{ name = "charge" }').wait_for()
    assert visit.axe() == []
    page.get_by_role("link", name="{ status = error }", exact=True).click()
    page.locator(".results a", has_text="POST /orders").wait_for()
    assert parameters(page) == {"q": "{ status = error }", "range": "3h"}
    visit.check()


def test_what_is_being_written_outlives_a_change_of_the_range(visit, orders):
    page = settled(visit.open(EVERYTHING))
    page.fill("#query", '{ name = "charge" }')
    page.select_option("#range", "3h")
    page.wait_for_url("**range=3h*")
    assert written_query(page) == '{ name = "charge" }'
    page.press("#query", "Enter")
    page.wait_for_url("**charge*")
    page.go_back()
    eventually(lambda: written_query(page) == "{ }", "the query is the one before")
    assert page.locator("#range").input_value() == "3h"
    page.go_back()
    page.wait_for_url(lambda url: "range" not in url)
    assert page.locator("#range").input_value() == "1h"
    visit.check()


def test_wrong_query_is_told_once(visit):
    visit.expect("400")
    page = visit.open("ui/search?q={ name = }")
    page.locator("#query-problem", has_text="unexpected }").wait_for()
    page.get_by_text("invalid TraceQL query").wait_for(state="detached")
    visit.check()


def test_search_that_finds_nothing_offers_nothing_to_do_with_it(visit, orders):
    page = settled(visit.open('ui/search?q={ name = "nobody" }'))
    page.get_by_text("No trace in this range matches.").wait_for()
    assert page.get_by_role("button", name="What differs").count() == 0
    assert page.get_by_text("up to").count() == 0
    visit.check()


def test_duration_of_the_form_goes_when_the_query_no_longer_has_it(visit):
    page = visit.open()
    page.get_by_text("Form", exact=True).click()
    least = page.get_by_label("Lasts at least")
    least.fill("250ms")
    assert written_query(page) == "{ duration >= 250ms }"
    least.fill("250m?")
    assert least.get_attribute("aria-invalid") == "true" and written_query(page) == "{ }"
    least.fill("1s")
    page.fill("#query", '{ name = "charge" }')
    page.wait_for_function("() => document.querySelector('[placeholder=\"250ms\"]').value === ''")
    visit.check()


def test_views_of_a_trace_are_steps_that_one_goes_back(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    shown = page.locator(".choice [aria-pressed=true]")
    for title, view in (("Flame graph", "flame"), ("Table", "table")):
        page.get_by_role("button", name=title, exact=True).click()
        page.wait_for_url(f"**view={view}*")
    page.go_back()
    page.locator(".flame .box").first.wait_for()
    assert shown.inner_text() == "Flame graph"
    page.go_back()
    page.locator(".span-row").first.wait_for()
    assert shown.inner_text() == "Waterfall"
    page.go_forward()
    page.locator(".flame .box").first.wait_for()
    visit.check()


def test_list_is_where_one_left_it_and_another_page_begins_at_its_top(visit, server):
    names = [f"row {n}" for n in range(60)]
    server.must_push(otlp.export(*(otlp.span(name=name) for name in names), service="long"))
    page = settled(visit.open('ui/search?q={ resource.service.name = "long" }&limit=100'))
    links = page.locator(".results tbody a")
    assert links.count() == 60
    links.nth(50).scroll_into_view_if_needed()
    # The history knows it when the scrolling has ended.
    page.wait_for_function("() => scrollY > 500 && history.state?.y === scrollY")
    left = page.evaluate("scrollY")
    page.get_by_role("link", name="Status").evaluate("link => link.click()")
    page.locator("h1", has_text="Status").wait_for()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.wait_for_function("y => scrollY === y", arg=left)
    visit.check()


def test_range_goes_along_to_other_pages_where_they_can_show_it(visit, orders):
    page = settled(visit.open("ui/services?range=15m"))
    page.get_by_role("link", name="Map", exact=True).click()
    page.wait_for_url("**/ui/map?range=15m")
    page.get_by_role("link", name="Search", exact=True).click()
    page.wait_for_url("**/ui/search?range=15m")
    page.select_option("#range", "24h")
    page.wait_for_url("**range=24h")
    page.get_by_role("link", name="Services", exact=True).click()
    page.wait_for_url("**/ui/services")
    assert page.locator("#range").input_value() == "1h"
    assert page.locator("#range option", has_text="last 24h").is_disabled()
    visit.check()


@pytest.mark.parametrize("path", [EVERYTHING, "ui/services", "ui/map", "ui/explore?q=%7B%20%7D%20%7C%20rate()"])
def test_times_of_a_range_are_chosen_by_keyboard_in_the_zone_of_the_reader(browser, server, orders, path):
    made = Visit(browser, server.url, timezone_id="Asia/Kolkata", **appearance("light narrow"))
    page = settled(made.open(path))
    page.select_option("#range", "fixed")
    page.wait_for_url("**from=**")
    began = int(parameters(page)["from"])
    assert int(parameters(page)["to"]) - began == 3_600
    first, last = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    shown = datetime.fromtimestamp(began, timezone(timedelta(hours=5, minutes=30)))
    assert first.input_value() == shown.strftime("%Y-%m-%dT%H:%M:%S")
    page.locator(".times", has_text="UTC+5:30").wait_for()
    first.fill((shown + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%S"))
    first.press("Enter")
    page.wait_for_url(f"**from={began + 1_800}&**")
    last.fill(shown.strftime("%Y-%m-%dT%H:%M:%S"))
    last.press("Enter")
    page.get_by_text("it ends before it begins").wait_for()
    assert int(parameters(page)["to"]) == began + 3_600, "what is no range is not asked for"
    assert made.axe() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.go_back()
    page.wait_for_function("began => document.querySelector('[aria-label=From]').value.endsWith(began)", arg=shown.strftime("%H:%M:%S"))
    page.select_option("#range", "15m")
    page.wait_for_url("**range=15m**")
    assert first.count() == 0 and "from" not in parameters(page)
    made.check()
    made.close()


@pytest.mark.parametrize("path", ["search", "map", "explore", "live"])
def test_slash_goes_to_the_query(visit, path):
    page = visit.open(f"ui/{path}")
    page.locator("#query").wait_for()
    page.keyboard.press("/")
    page.locator("#query.cm-content").wait_for()
    page.keyboard.type("{ status")
    assert "{ status" in written_query(page)
    visit.check()


def test_plots_tell_what_is_below_the_pointer(visit, server, orders):
    page = settled(visit.open('ui/search?q={ name = "POST /cards" }&range=5m'))
    page.locator(".charts[aria-busy=false]").wait_for()
    told = page.locator(".charts .pointed").first
    point_along(page, page.locator(".charts svg[role=img]").first, lambda: "with an error 0/s" not in told.inner_text())
    assert "all 0." in told.inner_text()
    page = settled(visit.open("ui/services?service=payment&range=5m"))
    told = page.locator(".heatmap .pointed")
    assert len(page.locator(".heatmap .scale span").all_inner_texts()) == 5
    point_along(page, page.locator(".heatmap .cells"), lambda: told.inner_text().endswith(": 1"))
    page = settled(visit.open("ui/explore?q={ } | rate() by (resource.service.name)&range=5m"))
    page.locator(".plot canvas").wait_for()
    told = page.locator(".readout")
    point_along(page, page.locator(".plot .u-over"), lambda: "resource.service.name=payment" in told.inner_text())
    visit.check()


def point_along(page, element, is_told):
    """Moves the pointer over an element from the right, in lines, until something is told."""
    box = element.bounding_box()
    for x in range(99, 50, -1):
        for y in range(2, 100, 5):
            page.mouse.move(box["x"] + box["width"] * x / 100, box["y"] + box["height"] * y / 100)
            if is_told():
                return
    raise AssertionError(f"nothing is told: {page.locator('main').inner_text()}")


def test_lines_of_a_heatmap_stand_beside_their_names(visit, server):
    base = time.time_ns() - 10 * 10**9
    names = ["SELECT *\nFROM items", "x" * 200, "short"]
    server.must_push(otlp.export(*(otlp.span(name=name, start=base) for name in names), service="lines"))
    page = settled(visit.open('ui/explore?q={ resource.service.name = "lines" } | rate() by (name)&view=heatmap&range=5m'))
    scale = page.locator(".heatmap .scale > span")
    assert [round(one.bounding_box()["height"]) for one in scale.all()] == [18, 18, 18]
    assert page.get_by_role("checkbox").count() == 0
    visit.check()


def test_answer_that_breaks_off_is_told_in_plain_words(browser, server, orders):
    with FaultProxy(server.http_port) as proxy:
        visit = Visit(browser, f"http://127.0.0.1:{proxy.port}")
        visit.expect("net::ERR_")
        try:
            page = settled(visit.open(EVERYTHING))
            proxy.set("cut", cut_after=600)
            page.get_by_role("button", name="Run").click()
            page.get_by_text("✕ the answer broke off: the server could not complete it, or the connection was lost").wait_for()
            proxy.set("pass")
            page = settled(visit.open(f"ui/trace/{orders.hex}"))
            page.locator(".span-row").first.wait_for()
            proxy.set("cut", cut_after=500)
            page.locator(".span-row", has_text="POST /orders").click()
            page.locator(".details [role=alert]", has_text="the answer broke off").wait_for()
            visit.check()
        finally:
            visit.close()


@pytest.mark.parametrize("path", ["ui/", "ui/search?form=1", "ui/file", "ui/compare", "ui/services", "ui/explore", "ui/live", "ui/status"])
def test_pages_are_as_wide_as_the_smallest_window(browser, server, orders, path):
    visit = Visit(browser, server.url, viewport={"width": 320, "height": 640})
    try:
        page = visit.open(path)
        page.locator("main h1").wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        visit.check()
    finally:
        visit.close()


def test_trace_that_is_not_stored_is_named_in_a_comparison(visit, orders):
    missing = "0" * 31 + "9"
    visit.expect("404")
    page = visit.open(f"ui/compare/{orders.hex}...{missing}")
    page.get_by_role("alert").filter(has_text=f"Trace {missing} is not stored.").wait_for()
    visit.check()


def test_what_is_selected_is_above_the_sheet_of_a_narrow_window(browser, server, orders):
    made = Visit(browser, server.url, **appearance("light narrow"))
    try:
        page = made.open(f"ui/trace/{orders.hex}")
        page.locator(".findings button", has_text="the error begins").click()
        sheet = page.locator(".details")
        sheet.wait_for()
        page.wait_for_function("""() => {
          const row = document.querySelector(".span-row.selected").getBoundingClientRect();
          return row.top >= 0 && row.bottom <= document.querySelector(".details").getBoundingClientRect().top;
        }""")
        made.check()
    finally:
        made.close()


def test_buttons_of_a_trace_are_in_one_line(browser, server, orders):
    made = Visit(browser, server.url, viewport={"width": 1280, "height": 800})
    try:
        page = made.open(f"ui/trace/{orders.hex}")
        page.locator(".span-row").first.wait_for()
        assert page.locator(".tools").bounding_box()["height"] < 40
        made.check()
    finally:
        made.close()


def test_another_tenant_sees_nothing_of_the_one_before(browser, servers):
    running = servers.start(config={**CONFIG, "multitenancy_enabled": True})
    need_pages(running)
    for tenant in ("first", "second"):
        spans = otlp.export(otlp.span(name=f"of {tenant}"), service=tenant)
        assert running.push(spans, headers={"X-Scope-OrgID": tenant}).status_code == 200
    made = Visit(browser, running.url)
    try:
        made.expect("401")
        page = made.open("ui/search?q={ }")
        page.get_by_label("Tenant").fill("первый")
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("the tenant has characters that cannot be sent").wait_for()
        page.get_by_label("Tenant").fill("first")
        page.get_by_role("button", name="Continue").click()
        page.locator(".results a", has_text="of first").wait_for()
        page.get_by_role("button", name="tenant first").click()
        page.get_by_label("Tenant").fill("second")
        page.get_by_role("button", name="Continue").click()
        page.locator(".results a", has_text="of second").wait_for()
        page.locator(".results a", has_text="of first").wait_for(state="detached")
        page = made.open("ui/search")
        page.get_by_role("heading", name="Recent queries").wait_for()
        page.get_by_role("button", name="tenant second").click()
        page.get_by_label("Tenant").fill("third")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("heading", name="Recent queries").wait_for(state="detached")
        page.get_by_role("heading", name="Examples").wait_for()
        made.check()
    finally:
        made.close()


def test_pages_ask_for_no_more_than_the_server_allows(browser, servers):
    limits = {"search": {"max_duration": "30m", "max_result_limit": 30}, "metrics": {"max_duration": "30m"}}
    running = servers.start(config={"query_frontend": limits})
    need_pages(running)
    traces = [os.urandom(16) for _ in range(2)]
    for trace in traces:
        running.must_push(otlp.export(otlp.span(trace, name="alike", start=time.time_ns() - 10**9, attributes={"user": "a"})))
    eventually(lambda: all(running.get(f"/api/traces/{trace.hex()}").status_code == 200 for trace in traces), "both are there")
    made = Visit(browser, running.url)
    try:
        for path in (EVERYTHING, "ui/services", "ui/map", "ui/explore?q=%7B%20%7D%20%7C%20rate()"):
            page = settled(made.open(path))
            assert page.locator("#range").input_value() == "15m"
            assert page.get_by_role("alert").count() == 0, page.locator("main").inner_text()
        page = settled(made.open(EVERYTHING + "&limit=500"))
        page.locator(".results a", has_text="alike").first.wait_for()
        limit = page.get_by_label("Traces at most")
        assert [limit.input_value(), limit.locator("option").all_inner_texts()] == ["30", ["20 traces", "30 traces"]]
        for link in ("find", "Spans that link to this one"):
            page = made.open(f"ui/trace/{traces[0].hex()}")
            page.locator(".span-row").first.click()
            page.get_by_role("link", name=link, exact=True).first.focus()
            page.keyboard.press("Enter")
            page.wait_for_url("**/ui/search?*")
            assert settled(page).get_by_role("alert").count() == 0, page.locator("main").inner_text()
        page = made.open(f"ui/trace/{traces[0].hex()}")
        page.get_by_role("button", name="Compare with the median").click()
        page.wait_for_url(f"**/ui/compare/{traces[1].hex()}...{traces[0].hex()}")
        made.check()
    finally:
        made.close()

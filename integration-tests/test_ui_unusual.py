"""Spans as nobody should send them: names without letters, without an end, or with markup and marks; none at all; too many."""
import os
import time
import urllib.parse

import pytest

from harness import otlp
from harness.browser import Visit, appearance, serving_pages, settled
from harness.waiting import eventually

MS = otlp.MILLISECOND
SERVER, CLIENT = otlp.Span.SPAN_KIND_SERVER, otlp.Span.SPAN_KIND_CLIENT
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}},
}
LONG = "x" * 5000
NAMES = {
    "long": LONG, "empty": "", "blank": " ", "marks": "a" + "\u0301" * 300, "right to left": "مرحبا /api", "override": "\u202eevil",
    "emoji": "👩‍👩‍👧‍👦 found", "markup": "<img src=x onerror='window.hacked = true'>", "lines": "a\tb\nc", "zero": "a\u200bb\u0000c",
}


class Unusual:
    """A trace for each name, and one with all of them; services that call each other under long names."""

    def __init__(self, server):
        self.start = time.time_ns() - 60 * 10**9
        self.ids = {}
        for kind, name in NAMES.items():
            root = otlp.span(name=name, kind=SERVER, start=self.start, duration=5 * MS)
            server.must_push(otlp.export(root, service=name[:300]))
            self.ids[kind] = root.trace_id.hex()
        trace = os.urandom(16)
        attributes = {"k" * 300: "of a long key", "": "of an empty key", "long": "y" * 100_000, "marks": NAMES["marks"]}
        root = otlp.span(trace, name="<b>root</b>", start=self.start, duration=200 * MS, attributes=attributes)
        calls = [otlp.span(trace, name=name, start=self.start + at * 10 * MS, duration=8 * MS, parent_span_id=root.span_id)
                 for at, name in enumerate(NAMES.values())]
        server.must_push(otlp.export(root, *calls, service="<i>all</i>"))
        self.ids["all"] = trace.hex()
        for at in range(3):
            call = otlp.span(name="call", kind=CLIENT, start=self.start, duration=20 * MS)
            serve = otlp.span(call.trace_id, name="serve", kind=SERVER, start=self.start, duration=10 * MS, parent_span_id=call.span_id)
            server.must_push(otlp.export(call, service=f"{at} a service with a rather long name"))
            server.must_push(otlp.export(serve, service=f"{at} another one with a rather long name"))
        for zero in (0, -5):
            span = otlp.span(name=f"{zero}", start=self.start, duration=0)
            span.end_time_unix_nano += zero * MS
            server.must_push(otlp.export(span, service="short"))
            self.ids[f"{zero}"] = span.trace_id.hex()
        early = otlp.span(name="gateway", kind=SERVER, start=self.start, duration=200 * MS)
        server.must_push(otlp.export(early, service="gateway"))
        for at, service in enumerate(("s" * 300, "\u202eevil", "خدمة الدفع")):
            call = otlp.span(early.trace_id, name="call", start=self.start - (at + 1) * 10 * MS, duration=MS, parent_span_id=early.span_id)
            server.must_push(otlp.export(call, service=service))
        self.ids["early"] = early.trace_id.hex()
        nameless = otlp.export(otlp.span(name="of nobody", kind=SERVER, start=self.start, duration=5 * MS, status={"code": 2}))
        del nameless.resource_spans[0].resource.attributes[:]
        server.must_push(nameless)
        first = otlp.span(name="in 1970", start=1, duration=MS)
        server.must_push(otlp.export(first, service="epoch"))
        self.ids["epoch"] = first.trace_id.hex()
        eventually(lambda: server.get(f"/api/traces/{self.ids['epoch']}").status_code == 200, "all are there")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-unusual"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def unusual(server):
    return Unusual(server)


PAGES = {
    "search": "ui/search?q={ }&limit=50", "services": "ui/services", "map": "ui/map", "explore": "ui/explore?q={ } | rate() by (name)",
    "explore values": "ui/explore?q={ } | rate() by (name)&view=table", "compare": "ui/compare/{all}...{long}",
    "typical": "ui/trace/{empty}?view=typical", "table": "ui/trace/{all}?view=table", "flame": "ui/trace/{all}?view=flame",
    **{f"trace {kind}": "ui/trace/{%s}" % kind for kind in [*NAMES, "all", "early", "0", "-5", "epoch"]},
}


@pytest.mark.parametrize("look", ["light wide", "dark narrow"])
def test_pages_hold_what_nobody_should_send(browser, server, unusual, look):
    made = Visit(browser, server.url, **appearance(look))
    try:
        for name, path in PAGES.items():
            for kind, trace in unusual.ids.items():
                path = path.replace("{%s}" % kind, trace)
            page = settled(made.open(path))
            if name.startswith("trace "):
                page.locator(".span-row").first.click()
                page.locator(".details h3", has_text="Resource").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than its window"
            assert made.axe() == [], name
            assert not page.evaluate("window.hacked"), name
            made.check()
    finally:
        made.close()


def test_names_are_shown_so_that_they_can_be_told(visit, unusual):
    page = settled(visit.open(f"ui/trace/{unusual.ids['all']}"))
    shown = page.locator(".span-row:not([hidden]) bdi").all_inner_texts()
    assert shown[1:] == [
        "x" * 160 + "…", "(no name)", "(blank)", "a" + "\u0301" * 8 + "⟦+151 marks⟧…", "مرحبا /api", "⟦U+202E⟧evil", "👩‍👩‍👧‍👦 found", NAMES["markup"], "a b c", "a⟦U+200B⟧b␀c",
    ], shown
    page.locator(".span-row").first.click()
    values = page.locator(".details dl .pair")
    values.filter(has_text="of an empty key").get_by_text("(empty)").wait_for()
    # A long key leaves room for its value.
    assert values.filter(has_text="of a long key").locator("dd").bounding_box()["width"] > 150
    page.locator(".span-row").nth(1).click()
    page.locator(".details h2", has_text="x…").wait_for()
    page.get_by_role("button", name="show all 5000 characters").first.click()
    page.locator(".details dd", has_text=LONG).wait_for()
    visit.check()


def test_clocks_are_told_with_names_that_stay_in_their_place(visit, unusual):
    page = settled(visit.open(f"ui/trace/{unusual.ids['early']}"))
    strip = page.locator(".strip")
    text = strip.inner_text()
    assert "\u2068خدمة الدفع\u2069 by 30.0 ms, ⟦U+202E⟧evil by 20.0 ms, " + "s" * 160 + "… by 10.0 ms), times are shown as sent." in text, text
    strip.get_by_role("button", name="Correct the clocks").click()
    strip.get_by_text("3 spans moved to after the start of their parents").wait_for()
    visit.check()


def test_service_that_sent_no_name_is_there_and_leads_nowhere(visit, unusual):
    page = settled(visit.open("ui/search?" + urllib.parse.urlencode({"q": '{ name = "of nobody" }'})))
    assert page.locator(".results a").inner_text() == "– of nobody"
    page = settled(visit.open("ui/services"))
    line = page.locator("main tr", has_text="unknown service")
    assert "✕ 50 %" in line.inner_text() and line.locator("a, button").count() == 0
    visit.check()


@pytest.mark.parametrize("name", [None, "", "\0", "a\1b", "__proto__", "constructor"])
def test_calls_are_drawn_whatever_services_are_called(visit, server, name):
    call = otlp.span(name="call", kind=CLIENT, start=time.time_ns() - 10**9, duration=20 * MS)
    serve = otlp.span(call.trace_id, name="serve", kind=SERVER, start=time.time_ns() - 10**9, duration=10 * MS, parent_span_id=call.span_id)
    named = otlp.export(serve, service=name or "")
    if name is None:
        del named.resource_spans[0].resource.attributes[:]
    server.must_push(otlp.export(call, service="caller"))
    server.must_push(named)
    trace = call.trace_id.hex()
    eventually(lambda: len(server.get(f"/api/traces/{trace}").json()["batches"]) == 2, "both spans are there")
    page = visit.open(f"ui/trace/{trace}?view=map")
    page.locator(".map .edge").wait_for()
    assert page.locator(".map a").count() == 2
    page = settled(visit.open("ui/map?" + urllib.parse.urlencode({"q": '{ trace:id = "%s" }' % trace})))
    assert page.locator("main .error").count() == 0
    # Of services without a name the server makes no call.
    assert page.locator(".map .edge").count() == page.locator("main tbody tr").count() == (1 if name else 0)
    visit.check()


def test_requests_of_no_duration_are_in_no_heatmap_and_that_is_said(visit, server):
    server.must_push(otlp.export(otlp.span(name="tick", kind=SERVER, duration=0), service="clock"))
    page = visit.open("ui/services?service=clock")
    page.locator("main tbody tr", has_text="tick").wait_for()
    page.get_by_text("No span that matches in this range has a duration above 0.").wait_for()
    visit.check()


def test_error_without_a_blank_is_as_wide_as_the_window(visit, unusual):
    visit.expect("400")
    page = visit.open("ui/search?" + urllib.parse.urlencode({"q": '{ name = "' + "x" * 3000}))
    page.locator("#query-problem p").wait_for()
    visit.page.route("**/ui/api/search?*", lambda route: route.fulfill(status=503, content_type="text/plain", body="y" * 3000))
    visit.expect("503")
    page = visit.open("ui/search?q={ }")
    page.locator("main [role=alert]", has_text="yyy").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.check()


def test_trace_without_names_is_held_against_its_like(visit, server, unusual):
    page = settled(visit.open(f"ui/trace/{unusual.ids['empty']}?view=typical"))
    assert page.title() == "(no name) – Tactus"
    page.get_by_text("No other trace of this operation within an hour.").wait_for()
    visit.check()


def test_length_of_a_trace_is_that_of_its_spans(visit, unusual):
    for kind in ("0", "-5"):
        page = settled(visit.open(f"ui/trace/{unusual.ids[kind]}"))
        assert page.locator(".trace-head").inner_text().split("\n")[1].startswith("0 · 1 span · 1 service")
    visit.check()


def test_span_that_never_ended_says_so(visit, server):
    start = time.time_ns() - 10 * 10**9
    root = otlp.span(name="root", start=start, duration=20 * MS)
    never = otlp.span(root.trace_id, name="never", start=start + 5 * MS, parent_span_id=root.span_id)
    never.end_time_unix_nano = 0
    server.must_push(otlp.export(root, never, service="short"))
    page = settled(visit.open(f"ui/trace/{root.trace_id.hex()}"))
    line = page.locator(".span-row", has_text="never")
    assert line.locator(".number").inner_text() == "without an end"
    line.click()
    details = page.locator(".details")
    details.locator("dd", has_text="without an end").wait_for()
    assert details.get_by_text("it ends before it starts").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.check()


def test_many_series_are_drawn_in_part_and_kept_in_whole(visit, server):
    trace = os.urandom(16)
    start = time.time_ns() - 20 * 10**9
    names = [f"one of many {n}" for n in range(1200)]
    server.must_push(otlp.export(*(otlp.span(trace, name=name, start=start) for name in names), service="many"))
    eventually(lambda: len(server.search('{ name = "one of many 1199" }')) == 1, "all are there")
    page = settled(visit.open('ui/explore?q={ resource.service.name = "many" } | count_over_time() by (name)&range=5m'))
    page.get_by_text("1 200 series").wait_for()
    page.get_by_text("Only the 200 largest series are shown").wait_for()
    assert page.get_by_role("checkbox").count() == 200
    assert page.evaluate("document.getElementsByTagName('*').length") < 4000
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert open(download.value.path()).readline().count(",") == 1200
    page.get_by_role("button", name="Table", exact=True).click()
    page.get_by_text("20 of 1 200 series are shown").wait_for()
    visit.check()


def test_metrics_query_in_the_search_leads_to_its_values(visit, unusual):
    page = settled(visit.open("ui/search?q={ } | rate()&range=15m"))
    page.get_by_role("link", name="Show its values").click()
    page.locator(".plot canvas").wait_for()
    assert "range=15m" in page.url
    visit.check()


def test_query_that_is_none_is_told_once_in_explore(visit, unusual):
    visit.expect("400")
    page = visit.open("ui/explore?q={ }")
    page.locator("#query-problem", has_text="a metrics query ends in a function").wait_for()
    page.locator("main [role=alert]").wait_for(state="detached")
    assert page.locator("main [role=status]").count() == 0
    visit.check()


@pytest.mark.parametrize("wrong", ["from=9&to=5", "from=1&to=9000000000", "from=x", "to=5"])
def test_range_that_is_none_is_said(visit, unusual, wrong):
    page = settled(visit.open(f"ui/search?q=%7B%20%7D&{wrong}"))
    page.get_by_text("the address has no valid range").wait_for()
    assert page.locator("#range").input_value() == "1h"
    page.select_option("#range", "3h")
    page.get_by_text("the address has no valid range").wait_for(state="detached")
    visit.check()


def test_spans_that_link_to_an_old_one_are_found(visit, server):
    old = otlp.span(name="old", start=time.time_ns() - 100 * 60 * 10**9)
    later = otlp.span(name="later", start=time.time_ns() - 90 * 60 * 10**9)
    later.links.add(trace_id=old.trace_id, span_id=old.span_id)
    server.must_push(otlp.export(old, service="queue"))
    server.must_push(otlp.export(later, service="queue"))
    page = visit.open(f"ui/trace/{old.trace_id.hex()}")
    page.locator(".span-row").first.click()
    page.get_by_text("Spans that link to this one").click()
    page.locator(".results a", has_text="later").wait_for()
    visit.check()

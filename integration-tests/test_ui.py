"""The pages in the binary, in a real browser."""
import contextlib
import hashlib
import http.server
import json
import os
import re
import threading
import time
import urllib.parse

import pytest
import requests
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import otlp
from harness.browser import Visit, appearance, need_pages, serving_pages, settled, written_query
from harness.cluster import Cluster
from harness.orders import MARKUP, pushed
from harness.waiting import eventually

MS = otlp.MILLISECOND
SERVER = Span.SPAN_KIND_SERVER
# No limit for the size of a trace, and queries see what was pushed a moment ago.
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    return pushed(server, time.time_ns() - 20 * 10**9)


def query(name):
    return '{ name = "%s" }' % name


def parameters(page):
    """Of the address that the page has."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))


def otlp_spans(server, trace):
    """All spans of a trace as the server has them now."""
    batches = server.get(f"/api/traces/{trace.hex()}").json().get("batches", [])
    return [span for batch in batches for scope in batch["scopeSpans"] for span in scope["spans"]]


def select(page, name):
    page.locator(".span-row", has_text=name).first.click()
    page.locator(".details h3", has_text="Resource").wait_for()
    return page.locator(".details").inner_text()


PAGES = {
    "search": "ui/search?q=%7B%20%7D", "services": "ui/services", "operations": "ui/services?service=shop", "map": "ui/map",
    "explore": "ui/explore?q=%7B%20%7D%20%7C%20rate()%20by%20(resource.service.name)",
    "trace": "ui/trace/{id}", "flame": "ui/trace/{id}?view=flame", "table": "ui/trace/{id}?view=table",
    "trace map": "ui/trace/{id}?view=map",
    "compare": "ui/compare/{id}...{id}",
}


def test_query_leads_to_a_trace_and_to_a_span(visit, orders):
    page = visit.open()
    page.fill("#query", query("POST /orders"))
    with page.expect_response("**/ui/api/search?*") as stream:
        page.press("#query", "Control+Enter")
    assert stream.value.headers["content-type"] == "text/event-stream"
    page.locator(".results a", has_text="POST /orders").click()
    page.locator("h1", has_text="shop POST /orders").wait_for()
    assert "105 spans · 3 services · ✕ 4 errors" in page.locator(".trace-head").inner_text()
    text = select(page, "POST /orders")
    assert "http.route\n/orders" in text and "region\neu" in text, text
    visit.check()


def test_form_writes_the_query_and_follows_it(visit, orders):
    page = visit.open()
    page.get_by_text("Form", exact=True).click()
    page.get_by_label("Service", exact=True).fill("payment")
    page.get_by_label("failed").check()
    page.get_by_label("Lasts at least").fill("1s")
    written = '{ resource.service.name = "payment" && status = error && duration >= 1s }'
    assert written_query(page) == written
    page.fill("#query", '{ name = "charge" }')
    assert page.get_by_label("Span name").input_value() == "charge"
    page.fill("#query", '{ name =~ "c.*" }')
    page.get_by_text("The form cannot show all of this query").wait_for()
    page.get_by_role("button", name="Run").click()
    assert "POST /orders" in page.locator(".results a").first.inner_text()
    visit.check()


def test_range_that_the_server_refuses_is_told_before(visit, orders):
    page = visit.open("ui/search?q=%7B%20%7D&from=1000000000&to=1700000000")
    page.get_by_text("A search can cover 7 days at most on this server").wait_for()
    visit.check()


def test_plan_tells_how_a_search_is_run(visit, orders):
    page = visit.open("ui/search?q=" + query("charge"))
    page.get_by_text("How it runs").click()
    page.get_by_text("evaluated on columns only: name = `charge`").wait_for()
    page.locator("td", has_text="recent").wait_for()
    visit.check()


def test_columns_show_attributes_of_what_matched(visit, orders):
    page = visit.open("ui/search?q=" + query("POST /orders"))
    page.locator(".results a").first.wait_for()
    page.fill("#columns", "span.http.route, resource.region")
    page.press("#columns", "Enter")
    page.locator(".results th", has_text="resource.region").wait_for()
    row = page.locator(".results tbody tr", has=page.locator(f"a[href$='{orders.hex}']"))
    cells = row.locator("td").all_inner_texts()
    assert cells[-2:] == ["/orders", "eu"], cells
    # What answers have in fields of their own, and what has other names there.
    page.fill("#columns", "name, duration, span:status, rootServiceName, kind")
    page.press("#columns", "Enter")
    page.locator(".results th", has_text="rootServiceName").wait_for()
    cells = row.locator("td").all_inner_texts()
    assert cells[-5:] == ["POST /orders", "1.84 s", "unset", "shop", "server"], cells
    visit.check()


def test_results_are_ordered_by_what_somebody_chooses(visit, server):
    base, kept = time.time_ns() - 15 * 10**9, []
    for number, length in enumerate((20, 60, 40)):
        trace = os.urandom(16)
        kept.append(trace.hex())
        server.must_push(otlp.export(
            otlp.span(trace, name="ordered", start=base + number * 1_000 * MS + 7 * MS, duration=length * MS), service="sorter"))
    eventually(lambda: len(server.get("/api/search", q=query("ordered")).json()["traces"]) == 3, "all are found")
    page = visit.open("ui/search?" + urllib.parse.urlencode({"q": query("ordered")}))

    def lines():
        links = page.locator(".results tbody a").all()
        return [kept.index(link.get_attribute("href").removeprefix("trace/")) for link in links]

    page.locator(".results tbody tr").nth(2).wait_for()
    assert lines() == [2, 1, 0]
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", page.locator(".results tbody td").nth(1).inner_text())
    page.get_by_role("button", name="Duration").click()
    page.wait_for_url("**sort=-duration*")
    assert lines() == [1, 2, 0]
    page.get_by_role("button", name="Duration").click()
    assert lines() == [0, 2, 1]
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**sort=start*")
    assert lines() == [0, 1, 2]
    assert visit.axe() == []
    visit.check()


def test_dragging_over_a_chart_zooms(visit, orders):
    page = visit.open("ui/search?q=%7B%20%7D&range=5m")
    chart = page.locator(".charts svg").first
    page.locator(".charts[aria-busy=false]").wait_for()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 20, steps=3)
    page.mouse.up()
    page.wait_for_url("**from=*")
    now = parameters(page)
    assert 100 <= int(now["to"]) - int(now["from"]) <= 200 and "range" not in now, now
    visit.check()


def test_charts_are_asked_for_when_the_search_found_something(visit, orders):
    held, asked = [], []
    visit.page.route(re.compile(r"/ui/api/search\?"), lambda route: held.append(route))
    visit.page.on("request", lambda request: asked.append(request.url) if "query_range" in request.url else None)
    with visit.page.expect_request(re.compile(r"/ui/api/search\?")):
        page = visit.open("ui/search?q=%7B%20%7D")
    # Whatever is asked for together with the search is asked for by then.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert len(held) == 1 and asked == []
    held[0].continue_()
    page.locator(".charts[aria-busy=false]").wait_for()
    assert len(asked) == 2
    visit.check()


def test_verdict_names_the_cause_and_leads_there(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    findings = page.locator(".findings")
    findings.get_by_text("55 % of the critical path is payment POST /cards (1.02 s in 3 spans)").wait_for()
    findings.get_by_text("3 tries of payment POST /cards, each failed").wait_for()
    findings.get_by_text("shop POST /orders calls database SELECT items 100 times, 24 % of the critical path").wait_for()
    findings.get_by_text("the error begins in payment POST /cards").click()
    page.locator(".span-row.selected", has_text="POST /cards").wait_for()
    visit.check()


def test_span_shows_events_stack_traces_and_links(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    text = select(page, "charge")
    assert "error: card declined" in text and "+1.09 s exception" in text, text
    assert page.locator(".details pre").inner_text() == "Declined: no money\n  at charge (pay.js:7)"
    page.locator(".details a", has_text="0" * 31 + "7").click()
    page.wait_for_url(f"**/ui/trace/{'0' * 31}7?span={'0' * 15}1")
    page.get_by_text("No trace with this id is stored.").wait_for()
    visit.expect("404")
    visit.check()


def test_value_of_a_span_leads_to_the_spans_that_have_it(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    select(page, "POST /orders")
    found = lambda text: page.locator(".details .pair", has_text=text).get_by_role("link", name="find")
    assert found("http.route").evaluate("element => getComputedStyle(element).opacity") == "0"
    found("http.route").focus()
    assert found("http.route").evaluate("element => getComputedStyle(element).opacity") == "1"
    page.keyboard.press("Enter")
    page.locator(".results a", has_text="POST /orders").wait_for()
    assert parameters(page)["q"] == '{ span.http.route = "/orders" }'
    page.go_back()
    found("onerror").click()
    page.locator(".results a", has_text="POST /orders").wait_for()
    page.go_back()
    found("region").click()
    page.wait_for_url("**resource.region*")
    assert parameters(page)["q"] == '{ resource.region = "eu" }'
    visit.check()


def test_span_is_found_by_those_that_link_to_it(visit, orders, server):
    other = otlp.span(name="follow up", start=time.time_ns() - 5 * 10**9)
    other.links.add(trace_id=orders.id, span_id=(1).to_bytes(8, "big"))
    server.must_push(otlp.export(other))
    page = visit.open(f"ui/trace/{orders.hex}")
    select(page, "POST /orders")
    page.get_by_text("Spans that link to this one").click()
    page.locator(".results a", has_text="follow up").wait_for()
    visit.check()


def test_siblings_alike_are_one_line_and_open(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    run = page.locator(".span-row", has_text="×100")
    assert "4.00 ms – 5.00 ms" in run.inner_text()
    rows = page.locator("[role=treegrid]")
    assert rows.get_attribute("aria-rowcount") == "6"
    run.click()
    page.locator("[role=treegrid][aria-rowcount='106']").wait_for()
    page.wait_for_url("**open=*")
    page.reload()
    page.locator("[role=treegrid][aria-rowcount='106']").wait_for()
    visit.check()


def test_trace_is_read_with_keys_alone(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    # Errors and the critical path are found together, after the first rows.
    page.locator(".bar-of-span.critical").first.wait_for()
    page.keyboard.press("e")
    selected = page.locator(".span-row.selected")
    assert "charge" in selected.inner_text()
    page.keyboard.press("E")
    page.keyboard.press("e")
    page.keyboard.press("e")
    assert "POST /cards" in selected.inner_text()
    page.locator("[role=treegrid]").focus()
    for key in ("ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert selected.get_attribute("aria-expanded") == "false" and "+3" in selected.inner_text()
    page.keyboard.press("ArrowRight")
    assert selected.get_attribute("aria-expanded") == "true"
    page.keyboard.press("f")
    page.wait_for_url("**from=*")
    shown = parameters(page)
    assert 600e6 < int(shown["from"]) < 700e6 and 1800e6 < int(shown["to"]) < 1860e6, shown
    page.keyboard.press("0")
    page.keyboard.press("v")
    page.locator(".flame").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.get_by_label("single keys do this").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.wait_for_url("**view=flame*")
    page.reload()
    page.locator(".flame .box").first.wait_for()
    page.keyboard.press("v")
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("single keys do this").check()
    page.keyboard.press("Escape")
    page.locator(".flame").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("x")
    page.wait_for_url("**/ui/explore")
    visit.check()


def test_span_says_what_is_missing_of_it_and_marks_its_events(visit, server):
    trace, base = os.urandom(16), time.time_ns() - 10 * 10**9
    span = otlp.span(trace, name="orphan", start=base, duration=100 * MS, parent_span_id=b"\xab" * 8)
    span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count = 3, 2, 1
    span.events.add(name="without", time_unix_nano=0)
    span.events.add(name="late", time_unix_nano=base + 130 * MS)
    for number in range(300):
        span.events.add(name=f"event {number}", time_unix_nano=base + (number % 50 + 1) * MS)
    other = otlp.span(trace, name="marked", start=base, duration=100 * MS)
    other.events.add(name="half", time_unix_nano=base + 50 * MS)
    server.must_push(otlp.export(span, other))
    eventually(lambda: len(otlp_spans(server, trace)) == 2, "both are there")
    page = visit.open(f"ui/trace/{trace.hex()}")
    line = page.locator(".span-row", has_text="marked")
    line.locator(".event-mark").wait_for()
    # The trace is 100 ms long: its spans, not their events, make its end.
    assert line.locator(".event-mark").get_attribute("style") == "left: 50%;"
    text = select(page, "orphan")
    assert "ab" * 8 + " is not stored" in text, text
    for said in ("3 attributes dropped", "2 events dropped", "1 link dropped", "without a time without", "+130 ms after the end of the span late"):
        assert said in text, text
    assert page.locator(".details details").count() == 100
    page.get_by_role("button", name="Show all 302 events").click()
    page.locator(".details details").nth(301).wait_for()
    assert visit.axe() == []
    visit.check()


def test_folded_lines_say_what_they_hide(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".bar-of-span.critical").first.wait_for()
    page.fill("#find", "{ span.n > 89 }")
    page.get_by_text("10 matches").wait_for()
    run = page.locator(".span-row.match", has_text="×100")
    assert "●10" in run.inner_text()
    page.press("#find", "Enter")
    page.get_by_text("1 of 10 matches").wait_for()
    page.fill("#find", "cards")
    page.get_by_text("3 matches").wait_for()
    charge = page.locator(".span-row", has_text="charge")
    charge.locator(".fold").click()
    assert "+3 ✕3 ●3" in charge.inner_text(), charge.inner_text()
    visit.check()


def test_spans_are_found_by_text_and_by_traceql(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("cards")
    page.get_by_text("3 matches").wait_for()
    page.keyboard.press("Enter")
    assert "POST /cards" in page.locator(".span-row.selected").inner_text()
    page.fill("#find", "{ span.n = 41 }")
    page.get_by_text("1 match", exact=True).wait_for()
    page.press("#find", "Enter")
    page.locator(".details .pair dd", has_text="41").wait_for()
    page.fill("#find", '{ name = "charge" } > { status = error }')
    page.get_by_text("3 matches").wait_for()
    page.get_by_label("hide others").check()
    page.locator("[role=treegrid][aria-rowcount='5']").wait_for()
    page.fill("#find", "{ name = }")
    page.get_by_text("invalid TraceQL query").wait_for()
    visit.check()


def test_clocks_are_put_right_where_that_is_wanted(visit, server):
    trace, now = os.urandom(16), time.time_ns() - 30 * 10**9
    root = otlp.span(trace, name="order", start=now, duration=400 * MS)
    pack = otlp.span(trace, name="pack", parent_span_id=root.span_id, start=now - 2_000 * MS, duration=200 * MS)
    query_ = otlp.span(trace, name="SELECT", parent_span_id=pack.span_id, start=now - 1_950 * MS, duration=100 * MS)
    charge = otlp.span(trace, name="charge", parent_span_id=root.span_id, start=now + 10 * MS, duration=50 * MS)
    server.must_push(otlp.export(root, charge, service="shop"))
    server.must_push(otlp.export(pack, query_, service="warehouse"))
    page = visit.open(f"ui/trace/{trace.hex()}")

    def lines():
        return page.locator(".span-row:not([hidden]) bdi").all_inner_texts()

    page.get_by_text("1 span before the start of its parent: clocks differ (warehouse by 2.00 s)").wait_for()
    assert "2.40 s" in page.locator(".trace-head").inner_text()
    assert lines() == ["order", "pack", "SELECT", "charge"]
    page.get_by_role("button", name="Correct the clocks").click()
    page.get_by_text("2 spans moved to after the start of their parents (warehouse by 2.10 s)").wait_for()
    page.wait_for_url("**clocks=corrected*")
    assert "400 ms" in page.locator(".trace-head").inner_text()
    assert lines() == ["order", "charge", "pack", "SELECT"]
    # What the server finds has another place here.
    page.fill("#find", '{ name = "SELECT" }')
    page.get_by_text("1 match", exact=True).wait_for()
    page.press("#find", "Enter")
    page.locator(".details h2", has_text="SELECT").wait_for()
    assert visit.axe() == []
    page.get_by_role("button", name="Show times as sent").click()
    page.get_by_role("button", name="Correct the clocks").wait_for()
    assert "2.40 s" in page.locator(".trace-head").inner_text()
    visit.check()


def test_address_holds_the_state(browser, server, visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    select(page, "charge")
    page.fill("#find", "cards")
    page.get_by_text("3 matches").wait_for()
    page.wait_for_url("**find=cards*")
    address = page.url.removeprefix(visit.root)
    again = Visit(browser, server.url)
    try:
        other = again.open(address)
        other.locator(".span-row.selected", has_text="charge").wait_for()
        other.get_by_text("3 matches").wait_for()
        again.check()
    finally:
        again.close()
    visit.check()


def test_flame_graph_and_table_add_up_calls(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}?view=table")
    row = page.locator("tbody tr", has_text="SELECT items")
    assert [cell.strip() for cell in row.inner_text().split("\t")][1:4] == ["100", "0", "450 ms"]
    page.get_by_role("button", name="Flame graph").click()
    page.locator(".box", has_text="POST /cards ×3 · 1.02 s").click()
    page.locator(".details h2", has_text="POST /cards").wait_for()
    page.get_by_role("button", name="Show the whole trace").click()
    page.locator(".box", has_text="whole trace").wait_for()
    visit.check()


def test_services_of_a_trace_are_a_map(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.get_by_role("button", name="Map", exact=True).click()
    page.locator(".edge text", has_text="×100").wait_for()
    page.locator(".map a", has_text="database").click()
    page.get_by_text("100 matches").wait_for()
    visit.check()


@pytest.mark.parametrize("button,name,spans", [
    ("Download OTLP", "trace-{id}.json", lambda file: [
        span for group in file["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]]),
    ("Jaeger JSON", "trace-{id}.jaeger.json", lambda file: file["data"][0]["spans"]),
])
def test_trace_is_downloaded(visit, orders, button, name, spans):
    page = visit.open(f"ui/trace/{orders.hex}")
    with page.expect_download() as kept:
        page.get_by_role("button", name=button).click()
    assert kept.value.suggested_filename == name.format(id=orders.hex)
    assert len(spans(json.loads(kept.value.path().read_text()))) == 105
    visit.check()


def test_services_lead_to_operations_and_to_traces(visit, orders):
    page = visit.open("ui/services")
    row = page.locator("tbody tr", has_text="payment")
    assert "✕ 100 %" in row.inner_text()
    assert page.locator("tbody tr").count() >= 2
    row.get_by_role("button").click()
    page.wait_for_url("**service=payment")
    page.locator("tbody tr", has_text="charge").wait_for()
    page.locator(".heatmap canvas").wait_for()
    box = page.locator(".heatmap canvas").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=3)
    page.mouse.up()
    page.get_by_role("link", name="show traces").click()
    page.locator(".results a", has_text="POST /orders").first.wait_for()
    visit.check()


def test_map_shows_calls_and_focuses_on_one_service(visit, orders):
    page = visit.open("ui/map")
    edge = page.locator("tbody tr", has_text="database")
    assert edge.inner_text().startswith("SH shop") and "100" in edge.inner_text(), edge.inner_text()
    assert "100 %" in page.locator(".edge.failed text").text_content()
    page.evaluate("window.isSame = true")
    page.locator(".map a", has_text="payment").click()
    page.wait_for_url("**focus=payment")
    assert page.evaluate("window.isSame"), "the document is loaded again"
    edge.wait_for(state="detached")
    page.fill("#query", '{ resource.service.name = "nobody" }')
    page.press("#query", "Enter")
    page.get_by_text("No call between services").wait_for()
    visit.check()


def test_metrics_query_is_drawn_and_its_exemplars_lead_to_traces(visit, orders):
    page = visit.open("ui/explore")
    page.fill("#query", "{ }")
    page.locator(".problem", has_text="a metrics query ends in a function").wait_for()
    page.fill("#query", '{ name = "charge" } | max_over_time(duration)')
    page.press("#query", "Enter")
    page.locator(".plot canvas").wait_for()
    assert "1.10 s" in page.locator("tbody tr").inner_text()
    with page.expect_download() as kept:
        page.get_by_role("button", name="CSV").click()
    lines = kept.value.path().read_text().splitlines()
    assert lines[0].startswith("time,") and any(line.endswith(",1.1") for line in lines), lines[:3]
    with page.expect_download() as kept:
        page.get_by_role("button", name="PNG").click()
    assert kept.value.path().read_bytes().startswith(b"\x89PNG")
    # Exemplars are there when the answer is complete: they stay where somebody clicks.
    page.locator("tbody a").first.click()
    page.wait_for_url(f"**/ui/trace/{orders.hex}?*")
    page.locator(".span-row.selected", has_text="charge").wait_for()
    visit.check()


def test_two_traces_of_a_list_are_compared(visit, server, orders):
    fast = os.urandom(16)
    server.must_push(otlp.export(
        otlp.span(fast, name="POST /orders", kind=SERVER, duration=310 * MS, start=orders.base), service="shop"))
    page = visit.open("ui/search?q=" + '{ name = "POST /orders" }')
    for trace in (orders.hex, fast.hex()):
        page.get_by_label(f"compare trace {trace}").check()
    page.get_by_role("link", name="Compare the two traces").click()
    page.get_by_text("B takes −1.53 s").wait_for()
    row = page.locator("tbody tr", has_text="SELECT items").inner_text()
    assert "only A" in row and "×100" in row and "−450 ms" in row, row
    page.get_by_role("link", name="shop POST /orders").first.click()
    page.get_by_role("button", name="Compare with the median").click()
    page.get_by_text("B takes +1.53 s").wait_for()
    visit.check()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("look", ["light wide", "dark narrow"])
def test_pages_are_accessible(browser, server, orders, name, look):
    made = Visit(browser, server.url, **appearance(look))
    try:
        page = made.open(PAGES[name].format(id=orders.hex))
        settled(page)
        assert made.axe() == []
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert beyond <= 0, f"the page is {beyond} pixels wider than the window"
        made.check()
    finally:
        made.close()


def test_live_tail_follows_stops_and_goes_on(visit, server):
    def push(name, **fields):
        server.must_push(otlp.export(otlp.span(name=name, **fields), service="live"))

    page = visit.open("ui/live")
    page.get_by_text("Matching spans appear here").wait_for()
    page.fill("#query", '{ resource.service.name = "live" && name =~ `tick.*` }')
    page.press("#query", "Enter")
    page.get_by_text("Matching spans appear here").wait_for()
    assert parameters(page)["q"] == '{ resource.service.name = "live" && name =~ `tick.*` }'
    trace, began = os.urandom(16), time.monotonic()
    push("tick 1", trace_id=trace, status=Status(code=Status.STATUS_CODE_ERROR, message=MARKUP))
    push("other")
    page.locator(".live tbody tr", has_text="tick 1").wait_for()
    shown = time.monotonic() - began
    assert shown < 1, f"{shown:.2f} s from the push to the row"
    page.get_by_role("button", name="Pause").click()
    push("tick 2")
    page.get_by_text("1 arrived since").wait_for()
    assert page.locator(".live tbody tr").count() == 1
    page.keyboard.press("p")
    page.locator(".live tbody tr").first.filter(has_text="tick 2").wait_for()
    assert "2 matched" in page.locator(".live-counts").inner_text()
    page.locator(".live a", has_text="tick 1").click()
    page.locator("h1", has_text="live tick 1").wait_for()
    assert trace.hex() in page.url
    visit.check()


def test_live_tail_says_what_it_leaves_out_and_why_it_cannot_follow(visit, server):
    page = visit.open("ui/live")
    page.get_by_text("Matching spans appear here").wait_for()
    server.must_push(otlp.export(*(otlp.span(name=f"flood {n}") for n in range(900)), service="flood"))
    page.get_by_text("spans that match were left out").wait_for()
    assert page.locator(".live tbody tr").count() <= 1_000
    visit.expect("400")
    page.fill("#query", "{ } >> { }")
    page.press("#query", "Enter")
    page.get_by_role("alert").filter(has_text="one filter of single spans").wait_for()
    visit.check()


@pytest.mark.parametrize("look", ["light wide", "dark narrow"])
def test_live_tail_obeys_rules_of_accessibility(browser, server, look):
    made = Visit(browser, server.url, **appearance(look))
    try:
        page = made.open("ui/live")
        page.get_by_text("Matching spans appear here").wait_for()
        spans = [otlp.span(name=f"seen {n}", attributes={"k": "v" * 300}) for n in range(5)]
        server.must_push(otlp.export(*spans, service="live"))
        page.locator(".live tbody tr").nth(4).wait_for()
        assert made.axe() == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        made.check()
    finally:
        made.close()


@pytest.mark.parametrize("look", ["light wide", "dark narrow"])
def test_status_page_shows_tenants_and_obeys_rules_of_accessibility(browser, server, orders, look):
    made = Visit(browser, server.url, **appearance(look))
    try:
        page = made.open("ui/status")
        page.get_by_role("cell", name="single-tenant", exact=True).wait_for()
        page.get_by_text("None at this query-frontend").wait_for()
        assert "one process" in page.locator(".status-summary").inner_text()
        assert made.axe() == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        made.check()
    finally:
        made.close()


def test_query_is_stopped_from_the_status_page(browser, tmp_path):
    # Without a querier a query waits for the first one, for half a minute.
    storage = {"storage": {"trace": {"backend": "local", "local": {"path": str(tmp_path / "blocks")}}}}
    # Nor is it shown again as a slow one, however slow the machine is.
    config = {"query_frontend": {"query_log": {"slow_after": "10m"}}}
    with Cluster(tmp_path / "cluster", None, {"query-frontend": 1}, config=config, storage=storage) as cluster:
        frontend = cluster["query-frontend-0"].spawn()
        eventually(lambda: frontend.get("/ui/").status_code == 200, "the pages are there")
        need_pages(frontend)
        made = Visit(browser, frontend.url)
        try:
            answers, text = [], "{ status = error && span.stop = 1 }"
            asking = threading.Thread(target=lambda: answers.append(frontend.get("/api/search", q=text)))
            asking.start()
            page = made.open("ui/status")
            row = page.locator(".queries tbody tr", has_text="span.stop = 1")
            row.locator("summary").click()
            row.get_by_text("evaluated on columns only").first.wait_for()
            assert made.axe() == []
            row.get_by_role("button", name="stop the query").click()
            asking.join(10)
            assert [answer.status_code for answer in answers] == [499]
            row.wait_for(state="detached")
            made.check()
        finally:
            made.close()


def test_values_of_spans_stay_text(visit, server, orders):
    trace = os.urandom(16)
    names = [MARKUP, "javascript:alert(1)", "\u202egnp.exe", "a\0b", "x" * 200_000]
    root = otlp.span(trace, name=MARKUP, attributes={name[:100] or "k": name for name in names},
                     status=Status(code=Status.STATUS_CODE_ERROR, message=MARKUP))
    root.attributes.extend(otlp.key_values({"http.url": "javascript:window.hacked=true", MARKUP: MARKUP}))
    root.events.add(name=MARKUP, attributes=otlp.key_values({"exception.stacktrace": MARKUP}))
    server.must_push(otlp.export(root, service=MARKUP, resource={MARKUP: MARKUP}))
    eventually(lambda: server.get(f"/api/traces/{trace.hex()}").status_code == 200, "the trace is there")
    page = visit.open(f"ui/trace/{trace.hex()}")
    text = select(page, "onerror")
    assert MARKUP in text and "⟦U+202E⟧gnp.exe" in text
    for path in ("ui/services", "ui/map", "ui/search?q={}", f"ui/trace/{trace.hex()}?view=flame",
                 f"ui/trace/{trace.hex()}?view=table", f"ui/compare/{trace.hex()}...{orders.hex}",
                 "ui/explore?q={ } | rate() by (name)"):
        settled(visit.open(path))
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert page.locator("a[href^='javascript:']").count() == 0
    visit.check()


def test_strange_traces_are_shown_whole(visit, server):
    trace, base = os.urandom(16), time.time_ns() - 10 * 10**9
    number = lambda n: n.to_bytes(8, "big")

    def span(n, parent, **fields):
        return otlp.span(trace, number(n), f"span {n}", **{"start": base, **fields}, parent_span_id=number(parent) if parent else b"")

    spans = [
        span(1, 0, duration=0), span(2, 7_777), span(3, 3), span(4, 5), span(5, 4), span(6, 1, start=base - 50 * MS),
        span(7, 1), otlp.span(trace, number(7), "span 7 again", start=base, parent_span_id=number(1)),
    ]
    backwards = span(8, 1)
    backwards.end_time_unix_nano = base - 5 * MS
    deep = [span(n, n - 1) for n in range(10, 2010)]
    server.must_push(otlp.export(*spans, backwards, *deep))
    eventually(lambda: len(otlp_spans(server, trace)) == len(spans) + 1 + len(deep), "all spans are there")
    page = visit.open(f"ui/trace/{trace.hex()}")
    page.locator(".span-row").first.wait_for()
    assert "2 009 spans" in page.locator(".trace-head").inner_text()
    strip = page.locator(".strip").inner_text()
    assert "2 spans without their parents, shown as roots" in strip and "1 span before the start of its parent" in strip, strip
    page.fill("#find", "span 8")
    page.press("#find", "Enter")
    page.get_by_text("it ends before it starts").wait_for()
    page.fill("#find", "0" * 15 + "3")
    page.press("#find", "Enter")
    page.get_by_text("0000000000000003 is below this span: a circle").wait_for()
    page.fill("#find", "span 7 again")
    page.press("#find", "Enter")
    page.get_by_text("2 spans have this id; all are shown.").wait_for()
    page.fill("#find", "span 2009")
    page.press("#find", "Enter")
    page.locator(".span-row.selected", has_text="span 2009").wait_for()
    for view in ("Flame graph", "Table"):
        page.get_by_role("button", name=view).click()
    visit.check()


def test_large_trace_keeps_the_page_small(visit, server):
    trace, base = os.urandom(16), time.time_ns() - 30 * 10**9
    root = otlp.span(trace, name="import", start=base, duration=20_000 * MS)
    spans = [root] + [
        otlp.span(trace, name=f"step {n % 50}", start=base + n * MS, parent_span_id=root.span_id) for n in range(20_000)]
    for part in range(0, len(spans), 5_000):
        server.must_push(otlp.export(*spans[part:part + 5_000]))
    eventually(lambda: len(otlp_spans(server, trace)) == len(spans), "all spans are there")
    page = visit.open(f"ui/trace/{trace.hex()}")
    page.locator(".span-row").first.wait_for()
    assert "20 001 spans" in page.locator(".trace-head").inner_text()
    page.locator("[role=treegrid]").focus()
    page.keyboard.press("End")
    page.locator(".span-row.selected", has_text="step 49").wait_for()
    assert page.evaluate("document.querySelectorAll('*').length") < 2_500
    page.fill("#find", '{ name = "step 7" }')
    page.get_by_text("400 matches").wait_for()
    visit.check()


def test_index_is_revalidated_and_assets_are_kept(server):
    index = server.get("/ui/", accept="text/html")
    assert index.headers["Cache-Control"] == "no-cache"
    again = server.get("/ui/", accept="text/html", headers={"If-None-Match": index.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    policy = index.headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "require-trusted-types-for 'script'" in policy
    assets = re.findall(r'(?:src|href)="(\./assets/[^"]+)"', index.text)
    assert len(assets) >= 2
    for encoding in ("br", "gzip", "identity"):
        for asset in assets:
            answer = server.session.get(f"{server.url}/ui/{asset[2:]}", headers={"Accept-Encoding": encoding}, stream=True)
            assert answer.headers.get("Content-Encoding", "identity") == encoding
            assert "immutable" in answer.headers["Cache-Control"] and "max-age=31536000" in answer.headers["Cache-Control"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_first_view_is_small(browser, server):
    made = Visit(browser, server.url)
    try:
        client = made.context.new_cdp_session(made.page)
        client.send("Network.enable")
        sizes = []
        client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        made.open()
        made.page.locator("#query").wait_for()
        made.page.wait_for_load_state("networkidle")
        assert 5_000 < sum(sizes) < 100 * 1024, sizes
        made.check()
    finally:
        made.close()


@pytest.mark.parametrize("prefix", ["/tempo", "/deep/down"])
def test_pages_work_below_a_prefix(browser, servers, prefix):
    running = servers.start(config={"http_api_prefix": prefix})
    trace = otlp.push_trace(running)
    eventually(lambda: running.get(f"{prefix}/api/traces/{trace}").status_code == 200, "the trace is there")
    need_pages(running, prefix)
    made = Visit(browser, running.url + prefix)
    try:
        page = made.open("ui/search?q={ name = \"root\" }")
        page.locator(".results a", has_text="root").click()
        page.locator(".span-row", has_text="child-1").wait_for()
        page.reload()
        page.locator(".span-row", has_text="child-1").wait_for()
        assert page.url.startswith(f"{running.url}{prefix}/ui/trace/")
        made.check()
    finally:
        made.close()
    for root in ("", "/"):
        answer = running.session.get(running.url + prefix + root, headers={"Accept": "text/html"}, timeout=10)
        assert (answer.status_code, answer.url) == (200, f"{running.url}{prefix}/ui/")


@contextlib.contextmanager
def proxy_below(prefix, target):
    """A web server that hands what is below a prefix on to another, without that prefix. Its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(prefix + "/"):
                return self.send_error(404)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.get(target + self.path.removeprefix(prefix), headers=headers, allow_redirects=False,
                                  stream=True, timeout=30)
            body = answer.raw.read()
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pages_work_behind_a_proxy_that_takes_a_prefix_away(browser, server, orders):
    with proxy_below("/tools/traces", server.url) as root:
        made = Visit(browser, root)
        try:
            page = made.open("")
            page.wait_for_url(root + "/ui/")
            page.fill("#query", query("charge"))
            page.press("#query", "Enter")
            page.locator(".results a", has_text="POST /orders").first.click()
            page.locator(".span-row", has_text="charge").wait_for()
            page.reload()
            select(page, "charge")
            assert page.url.startswith(root + "/ui/trace/")
            made.check()
        finally:
            made.close()


def test_token_is_asked_for_and_sent(browser, servers):
    digest = hashlib.sha256(b"reader-token").hexdigest()
    users = servers.directory / "users.yaml"
    users.write_text(yaml.safe_dump({"users": [
        {"name": "reader", "token_sha256": digest, "tenants": ["a", "b"], "roles": ["read", "write"]}]}))
    running = servers.start(config={"multitenancy_enabled": True, "auth": {"enabled": True, "users_file": str(users)}})
    need_pages(running)
    made = Visit(browser, running.url)
    try:
        made.expect("401")
        page = made.open("ui/services")
        page.get_by_role("dialog", name="Who asks?").wait_for()
        page.keyboard.press("Escape")
        # Nothing goes on waiting for what nobody says, and nobody is asked again.
        page.get_by_role("alert").filter(has_text="auth").wait_for()
        page.get_by_role("button", name="sign in").click()
        page.get_by_label("Tenant").fill("a")
        page.get_by_label("Token").fill("reader-token")
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("No request was stored in this range.").wait_for()
        page.get_by_role("button", name="tenant a").wait_for()
        assert "reader-token" not in page.url
        page.reload()
        page.get_by_text("No request was stored in this range.").wait_for()
        # Whoever changes the tenant alone keeps the token.
        page.get_by_role("button", name="tenant a").click()
        assert page.get_by_label("Token").get_attribute("placeholder") == "unchanged"
        page.get_by_label("Tenant").fill("b")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="tenant b").wait_for()
        page.get_by_text("No request was stored in this range.").wait_for()
        assert page.get_by_role("dialog").count() == 0
        made.check()
    finally:
        made.close()


def test_api_of_the_pages_refuses_what_makes_no_sense(server, orders):
    def ask(path, **params):
        answer = server.get("/ui/api/" + path, **params)
        return answer.status_code, answer.text

    assert ask(f"traces/{'0' * 31}9/skeleton")[0] == 404
    assert ask("traces/xyz/skeleton")[0] == 400
    assert ask(f"traces/{orders.hex}/spans", ids="xyz")[0] == 400
    assert ask(f"traces/{orders.hex}/spans", ids=",".join(["0" * 15 + "1"] * 201)) == (400, "more than 200 span ids")
    status, text = ask(f"traces/{orders.hex}/find", q="{ } | rate()")
    assert (status, json.loads(text)) == (200, {"problem": "a metrics query finds no spans"})
    assert ask("nothing")[0] == 404
    status, text = ask("check", q="{ name = }")
    assert status == 200 and json.loads(text)["error"]["column"] == 10
    assert json.loads(ask("check", q="{name=\"a\"}")[1])["canonical"] == "{ name = `a` }"
    limits = json.loads(ask("config")[1])["limits"]
    assert limits["searchSeconds"] == 168 * 3600 and limits["traceBytes"] == 0

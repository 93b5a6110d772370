"""Traces that are more than a page or a server has at once: downloads, the table, two of them compared."""
import json
import os
import re
import time

import pytest

from harness import otlp
from harness.browser import serving_pages
from harness.waiting import eventually

# More than the server holds of one trace at a time, and more spans than a page is given with their attributes.
SPANS = 120_000
PUSHED = 4_000
CONFIG = {
    "server": {"max_inflight_bytes": 64 << 20},
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
}
DEEP = 12_000
OPERATIONS = 1_500


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-large"), CONFIG) as running:
        yield running


def push(server, spans):
    """A trace. Returns its id in hex."""
    for first in range(0, len(spans), PUSHED):
        server.must_push(otlp.export(*spans[first:first + PUSHED], service=f"service-{first}"))
    trace = spans[0].trace_id.hex()
    path = f"/ui/api/traces/{trace}/skeleton"
    eventually(lambda: f'"spans":{len(spans)},'.encode() in server.get(path).content, "the whole trace", 60)
    return trace


def made(count, parent_of, name_of=lambda n: f"operation {n % 60}"):
    trace, start = os.urandom(16), time.time_ns() - 10**10
    return [otlp.span(trace, name=name_of(n), start=start + n, duration=count - n, span_id=n.to_bytes(8, "big"),
                      parent_span_id=parent_of(n).to_bytes(8, "big") if n > 1 else b"", attributes={"number": n, "text": "x" * 100})
            for n in range(1, count + 1)]


@pytest.fixture(scope="module")
def wide(server):
    return push(server, made(SPANS, lambda n: max(1, n // 4)))


@pytest.mark.parametrize("button,spans", [
    ("Download OTLP", lambda file: [span for group in file["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]]),
    ("Jaeger JSON", lambda file: file["data"][0]["spans"]),
])
def test_large_trace_is_downloaded(visit, wide, button, spans):
    page = visit.open(f"ui/trace/{wide}")
    with page.expect_download(timeout=120_000) as kept:
        page.get_by_role("button", name=button).click()
    found = spans(json.loads(kept.value.path().read_text()))
    assert len({span.get("spanId") or span["spanID"] for span in found}) == len(found) == SPANS
    visit.check()


def test_download_that_breaks_off_says_so_and_is_not_kept(visit, server, wide):
    page = visit.open(f"ui/trace/{wide}")
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    visit.expect("ERR_INCOMPLETE_CHUNKED_ENCODING")
    page.get_by_role("button", name="Download OTLP").click()
    page.get_by_text(re.compile(r"^reading… \d")).wait_for()
    [query] = server.get("/ui/api/queries").json()["running"]
    assert query["query"] == wide, query
    server.session.delete(f"{server.url}/ui/api/queries/{query['id']}", timeout=30)
    page.locator(".tools [role=status]", has_text="The answer broke off").wait_for()
    assert not downloads, downloads
    visit.check()


def test_count_of_matches_is_not_told_before_it_is_known(visit, wide):
    page = visit.open(f"ui/trace/{wide}")
    page.locator(".span-row").first.wait_for()
    held = []
    page.route("**/find?*", lambda route: held.append(route))
    with page.expect_request("**/find?*"):
        page.fill("#find", "{ span.number <= 7 }")
    status = page.locator(".tools [role=status]").first
    status.get_by_text("searching…").wait_for()
    held[0].continue_()
    status.get_by_text("7 matches").wait_for()
    visit.check()


def test_table_of_a_trace_with_many_operations_says_how_many_it_leaves_out(visit, server):
    trace = push(server, made(OPERATIONS, lambda _: 1, lambda n: f"GET /orders/{n}"))
    page = visit.open(f"ui/trace/{trace}?view=table")
    page.get_by_text("500 more operations are not shown.").wait_for()
    assert page.locator(".view tbody tr").count() == 1_000
    visit.check()


def test_table_of_operations_of_a_service_says_how_many_it_leaves_out(visit, server):
    spans = [otlp.span(name=f"GET /orders/{n}", kind=otlp.Span.SPAN_KIND_SERVER) for n in range(510)]
    server.must_push(otlp.export(*spans, service="many"))
    page = visit.open("ui/services?service=many&range=15m")
    page.get_by_text("10 more operations are not shown.").wait_for()
    assert page.locator("main tbody tr").count() == 500
    visit.check()


def test_map_of_a_trace_says_how_many_calls_it_leaves_out(visit, server):
    """Each service is called by seven others, in circles: all calls would be drawn late, if at all."""
    trace, start, services = os.urandom(16), time.time_ns() - 10**10, 100
    request = otlp.ExportTraceServiceRequest()
    for one in range(services):
        root = otlp.span(trace, (one + 1).to_bytes(8, "big"), "root", start)
        called = [otlp.span(trace, name="op", start=start, parent_span_id=((one + n * 13) % services + 1).to_bytes(8, "big"))
                  for n in range(1, 8)]
        request.resource_spans.extend(otlp.export(root, *called, service=f"service-{one}").resource_spans)
    server.must_push(request)
    eventually(lambda: b'"spans":800,' in server.get(f"/ui/api/traces/{trace.hex()}/skeleton").content, "the whole trace")
    page = visit.open(f"ui/trace/{trace.hex()}?view=map")
    page.get_by_text(re.compile("^! Only the 400 most frequent calls are shown, 300 are not")).wait_for(timeout=60_000)
    assert page.locator(".map .edge").count() == 400
    visit.check()


@pytest.mark.parametrize("what,shown,selector", [("links", 100, ".details a.mono"), ("attributes", 500, ".details .pair")])
def test_span_with_very_much_shows_the_first_of_it(visit, server, what, shown, selector):
    count = 3_000
    span = otlp.span(name="much", attributes={f"k{n}": n for n in range(count)} if what == "attributes" else {})
    for _ in range(count if what == "links" else 0):
        span.links.add(trace_id=os.urandom(16), span_id=os.urandom(8))
    trace = push(server, [span])
    page = visit.open(f"ui/trace/{trace}?span={span.span_id.hex()}")
    more = page.get_by_role("button", name=re.compile(f"^Show all 3.000 {what}$"))
    more.wait_for()
    # The resource has its own.
    assert shown <= page.locator(selector).count() <= shown + 1
    more.click()
    more.wait_for(state="detached")
    assert count <= page.locator(selector).count() <= count + 1
    visit.check()


def test_calls_that_are_deeper_than_any_stack_are_compared_and_drawn(visit, server):
    a, b = (push(server, made(DEEP, lambda n: n - 1)) for _ in range(2))
    page = visit.open(f"ui/compare/typical...{b}")
    page.get_by_text(re.compile(r"^B takes ")).wait_for()
    assert page.locator("main tbody tr").count() == 500
    page = visit.open(f"ui/compare/{a}...{b}")
    page.get_by_text(re.compile(r"^! 11.500 more calls are not shown\.$")).wait_for()
    assert page.locator("main tbody tr").count() == 500
    page = visit.open(f"ui/trace/{a}?view=flame")
    page.get_by_text("What is below 200 calls is drawn when you choose one of them.").wait_for()
    box = page.locator(".box", has_text="operation 1 ").first
    box.click()
    page.get_by_role("button", name="Show the whole trace").click()
    page.locator(".box", has_text="whole trace").wait_for()
    visit.check()

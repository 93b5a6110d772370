"""The address holds what a page shows: a reload, a copied link and the way back show the same."""
import time
import urllib.parse

import pytest

from harness import otlp
from harness.browser import serving_pages, settled
from harness.looking import drag
from harness.orders import pushed
from harness.waiting import eventually

MS = otlp.MILLISECOND
SERVER = otlp.Span.SPAN_KIND_SERVER
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"metrics": {"query_backend_after": "1s"}, "query_log": {"slow_after": "0s"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("ui-address"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    """An order, and requests of an operation of which one in ten is slow, all in one region."""
    made = pushed(server, time.time_ns() - 40 * 10**9)
    start = time.time_ns() - 30 * 10**9
    for n in range(20):
        slow = n % 10 == 0
        span = otlp.span(name=f"GET /{n % 3}", kind=SERVER, start=start + n * 50 * MS, duration=(900 if slow else 20) * MS)
        server.must_push(otlp.export(span, service="front", resource={"region": "us" if slow else "eu"}))
    eventually(lambda: len(server.search('{ resource.service.name = "front" }')) == 20, "all are there")
    return made


def parameters(page):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))


def column(page, at):
    return [row.split("\t")[at].strip() for row in page.locator("main tbody tr").all_inner_texts()]


def test_order_of_the_table_of_a_trace(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}?view=table")
    head = page.locator("th button", has_text="Spans")
    head.click()
    page.wait_for_url("**sort=-calls*")
    assert column(page, 1) == ["100", "3", "1", "1"]
    head.click()
    page.wait_for_url("**sort=calls*")
    page.reload()
    page.locator("th[aria-sort=ascending]", has_text="Spans").wait_for()
    assert column(page, 1) == ["1", "1", "3", "100"]
    # A link to a span and back.
    page.locator("tbody button", has_text="charge").click()
    page.locator(".details a").first.click()
    page.wait_for_url(lambda url: "sort=" not in url)
    page.go_back()
    page.locator("th[aria-sort=ascending]", has_text="Spans").wait_for()
    page.locator(".details h2", has_text="charge").wait_for()
    visit.expect("404")
    visit.check()


def test_folds_stay_around_what_is_selected_and_a_link_shows_the_same(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    rows = page.locator(".span-row:not([hidden])")
    rows.first.wait_for()
    every = rows.count()
    page.locator(".span-row", has_text="POST /cards").first.click()
    page.locator(".span-row", has_text="POST /orders").locator(".fold").click()
    page.wait_for_url("**folded=*")
    assert rows.count() == 1
    page.reload()
    page.locator(".details h2", has_text="POST /cards").wait_for()
    assert rows.count() == 1
    page.get_by_role("button", name="open all").click()
    eventually(lambda: rows.count() == every, "all are there again")
    visit.check()


def test_run_of_calls_is_opened_and_closed_by_keyboard_alone(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    rows, run = page.locator(".span-row:not([hidden])"), page.locator(".span-row", has_text="×100")
    run.wait_for()
    closed = rows.count()
    page.get_by_role("treegrid").focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.wait_for_url("**open=none*")
    assert rows.count() == closed and run.get_attribute("aria-expanded") == "false"
    page.reload()
    page.locator(".details h2", has_text="SELECT items").wait_for()
    assert rows.count() == closed
    page.get_by_role("treegrid").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".span-row.selected", has_text="SELECT items").wait_for()
    page.keyboard.press("ArrowDown")
    page.wait_for_url(lambda url: parameters(page).get("open", "none") != "none")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**open=none*")
    assert rows.count() == closed and run.get_attribute("aria-expanded") == "false"
    # Whoever closes the details goes on where they were.
    page.get_by_role("button", name="Close the details").press("Enter")
    page.locator(".details").wait_for(state="detached")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "treegrid"
    visit.check()


def test_order_of_services(visit, orders):
    page = settled(visit.open("ui/services?range=15m&sort=name"))
    names = column(page, 0)
    assert len(names) > 2 and names == sorted(names), names
    page.locator("th button", has_text="Service").click()
    page.wait_for_url("**sort=-name*")
    assert column(page, 0) == names[::-1]
    # The order that a table begins with is none of the address.
    page.locator("th button", has_text="Share of time").click()
    page.wait_for_url(lambda url: "sort" not in url)
    visit.check()


def test_series_that_are_hidden_stay_hidden(visit, orders):
    page = settled(visit.open("ui/explore?q={ } | rate() by (resource.service.name)&range=5m"))
    boxes = page.get_by_role("checkbox")
    shop = page.get_by_role("checkbox", name="resource.service.name=shop")
    shop.wait_for()
    assert boxes.count() == 4
    shop.uncheck()
    page.wait_for_url("**hidden=*")
    page.reload()
    shop.wait_for()
    assert not shop.is_checked() and page.get_by_role("checkbox", checked=True).count() == 3
    for name in ("front", "payment"):
        page.get_by_role("checkbox", name=f"resource.service.name={name}").uncheck()
    page.wait_for_url("**shown=*")
    assert "hidden" not in parameters(page)
    page.get_by_role("button", name="Bars").click()
    page.wait_for_url("**view=bar*")
    page.go_back()
    page.get_by_role("button", name="Lines", pressed=True).wait_for()
    assert [box.is_checked() for box in boxes.all()].count(True) == 1
    # Another query has other series.
    page.fill("#query", "{ } | rate() by (name)")
    page.press("#query", "Control+Enter")
    page.wait_for_url(lambda url: "shown" not in url and "name)" in urllib.parse.unquote_plus(url))
    page.get_by_role("checkbox", name="charge").wait_for()
    assert page.get_by_role("checkbox", checked=False).count() == 0
    visit.check()


def test_box_of_a_heatmap_and_what_differs_in_it(visit, orders):
    page = settled(visit.open("ui/services?service=front&range=5m"))
    cells = page.locator(".heatmap .cells")
    # The upper lines, over the whole time.
    drag(page, cells, (0.002, 0.01), (0.998, 0.3))
    page.get_by_role("link", name="show traces").wait_for()
    page.wait_for_url("**box=*")
    page.get_by_role("button", name="What differs").click()
    page.wait_for_url("**differs=*")
    region = page.locator(".differences tbody tr", has_text="resource.region")
    region.wait_for()
    page.reload()
    region.wait_for()
    page.get_by_role("link", name="show traces").click()
    page.get_by_text("2 traces").wait_for()
    page.go_back()
    region.wait_for()
    page.get_by_role("button", name="What differs", pressed=True).click()
    page.wait_for_url(lambda url: "differs" not in url)
    region.wait_for(state="detached")
    cells.focus()
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "box" not in url)
    visit.check()


def test_part_of_a_flame_graph(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}?view=flame")
    page.locator(".box", has_text="charge").click()
    page.wait_for_url("**within=*")
    page.reload()
    page.locator(".box", has_text="POST /cards").wait_for()
    assert page.locator(".box", has_text="POST /orders").count() == 0
    page.get_by_role("button", name="Show the whole trace").click()
    page.locator(".box", has_text="POST /orders").wait_for()
    page.wait_for_url(lambda url: "within" not in url)
    visit.check()


def test_marked_traces_the_form_and_the_plan(visit, orders):
    asked = []
    page = visit.page
    page.on("request", lambda request: asked.append(request.url) if "/ui/api/search?" in request.url else None)
    settled(visit.open('ui/search?q={ resource.service.name = "front" }&range=15m'))
    boxes = page.locator(".results input[type=checkbox]")
    for at in (1, 3):
        boxes.nth(at).check()
    page.get_by_text("Form", exact=True).click()
    page.wait_for_url("**form=1*")
    assert len(asked) == 1, "what is only shown otherwise is not searched for again"
    page.get_by_text("How it runs").click()
    page.get_by_text("of work").wait_for()
    page.reload()
    page.get_by_role("link", name="Compare the two traces").wait_for()
    assert [at for at in range(boxes.count()) if boxes.nth(at).is_checked()] == [1, 3]
    assert page.get_by_label("Service", exact=True).input_value() == "front"
    page.get_by_text("of work").wait_for()
    page.get_by_role("link", name="Compare the two traces").click()
    page.get_by_text("B takes").wait_for()
    page.go_back()
    page.get_by_role("link", name="Compare the two traces").wait_for()
    visit.check()


def test_copying_without_the_clipboard_api_leaves_the_keys_where_they_are(visit, orders):
    visit.context.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page = settled(visit.open(f"ui/trace/{orders.hex}"))
    page.locator("[role=treegrid]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("y")
    page.locator("main [role=status]", has_text="copied").wait_for()
    # The hundred calls are one line, which shows where one is.
    page.keyboard.press("ArrowDown")
    page.locator(".span-row.selected", has_text="×100").wait_for()
    visit.check()


def test_address_is_copied_with_what_changed_a_moment_ago(browser, server, orders, visit):
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".bar-of-span.critical").first.wait_for()
    page.keyboard.press("e")
    page.keyboard.press("y")
    copied = eventually(lambda: page.evaluate("navigator.clipboard.readText()"), "the address is copied")
    assert "span=" in copied, copied
    # So is it when somebody leaves at once.
    page.keyboard.press("e")
    page.get_by_role("link", name="Status").evaluate("link => link.click()")
    page.locator("h1", has_text="Status").wait_for()
    page.go_back()
    page.locator(".span-row.selected", has_text="POST /cards").wait_for()
    visit.check()


def test_plan_of_a_slow_query(visit, orders, server):
    server.search('{ name = "nobody asks this" }')
    page = visit.open("ui/status")
    row = page.locator(".queries tr", has_text="nobody asks this").first
    row.locator("summary").click()
    page.wait_for_url("**query=*")
    page.reload()
    row.get_by_role("link", name="Run it again").wait_for()
    visit.check()


def test_file_that_is_open_no_more_is_asked_for(visit, orders, server):
    whole = server.get(f"/api/traces/{orders.hex}").text
    page = visit.open("ui/file")
    page.get_by_label("Text of a file").fill(whole)
    page.get_by_role("button", name="Open the text").click()
    page.locator(".span-row", has_text="charge").click()
    page.wait_for_url("**span=*")
    page.reload()
    page.get_by_text("The file of this trace is open no more").wait_for()
    page.get_by_label("Text of a file").fill(whole)
    page.get_by_role("button", name="Open the text").click()
    page.locator(".span-row.selected", has_text="charge").wait_for()
    visit.check()

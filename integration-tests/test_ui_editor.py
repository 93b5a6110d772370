"""The editor of queries, in a real browser."""
import time

import pytest

from harness import otlp
from harness.browser import Visit, appearance, serving_pages, written_query
from harness.orders import MARKUP, pushed
from harness.waiting import eventually

# Of the code of the editor, which comes after the page.
CODE = "**/assets/view-*.js"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("editor")) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    server.must_push(otlp.export(otlp.span(name=MARKUP, start=time.time_ns() - 10**9), service=MARKUP))
    return pushed(server, time.time_ns() - 20 * 10**9)


def editor(page, field="#query"):
    """The editor in the place of the plain field, with the focus."""
    page.locator(field).focus()
    element = page.locator(f".cm-content{field}")
    element.wait_for()
    return element


def offers(page, **named):
    """What the editor offers, once that is of what is written."""
    return page.locator(".cm-tooltip-autocomplete:not(.cm-tooltip-autocomplete-disabled)").get_by_role("option", **named)


def option(page, name):
    return offers(page, name=name, exact=True)


def colours(page):
    """Of the pieces of the query, by their text."""
    return dict(page.locator(".cm-line span").evaluate_all(
        "pieces => pieces.map(piece => [piece.textContent, getComputedStyle(piece).color])"))


def test_scope_attribute_and_value_are_completed_and_run_by_keyboard_alone(visit, orders):
    page = visit.open()
    page.locator("#query").wait_for()
    page.keyboard.press("/")
    page.locator(".cm-content").wait_for()
    page.keyboard.type("{ reso")
    option(page, "resource. of the process").wait_for()
    page.keyboard.type("urce.serv")
    option(page, "resource.service.name").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    option(page, "=~ regular expression").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    option(page, '"payment"').wait_for()
    page.keyboard.type("pay")
    option(page, '"shop"').wait_for(state="detached")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    option(page, "&&").wait_for()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert written_query(page) == '{ resource.service.name = "payment" }'
    page.keyboard.press("Enter")
    page.locator(".results a", has_text="POST /orders").first.wait_for()
    visit.check()


def test_values_are_those_of_the_spans_that_the_rest_finds(visit, orders):
    page = visit.open()
    editor(page)
    page.keyboard.type('{ name = "charge" && resource.service.name = ')
    option(page, '"payment"').wait_for()
    assert offers(page).all_inner_texts() == ['"payment"']
    visit.check()


def test_stages_hints_and_relations_are_offered(visit, orders):
    page = visit.open()
    editor(page)
    for typed, offered in [("{ } ", "&>> descendant, and its ancestors"), ("| ", "coalesce() joins groups again"),
                           ("rate() ", "| topk(10) the largest series"), ("with (", "exemplars= how many"),
                           ("exemplars=", "20")]:
        page.keyboard.type(typed)
        option(page, offered).wait_for()
    page.keyboard.press("Escape")
    offers(page).first.wait_for(state="detached")
    visit.check()


def test_questions_of_completion_are_given_up_when_nobody_waits(visit, orders):
    page = visit.open()
    asked, failed = [], []
    page.on("requestfailed", lambda request: failed.append(request.url))

    def late(route):
        asked.append(route.request.url)
        if "span.n/" in route.request.url:
            return  # Never answered.
        route.continue_()

    page.route("**/values?*", late)
    element = editor(page)
    page.keyboard.type("{ span.n = ")
    eventually(lambda: page.evaluate("1") and len(asked) == 1, "values are asked for")
    page.keyboard.type("1 && resource.service.name = ")
    option(page, '"database"').wait_for()
    eventually(lambda: page.evaluate("1") and any("span.n/" in url for url in failed), "the first question is given up")
    assert element.inner_text() == "{ span.n = 1 && resource.service.name = "
    visit.check()


def test_plain_field_works_where_the_editor_does_not_come(visit, orders):
    page = visit.open()
    page.route(CODE, lambda route: route.abort())
    visit.expect("ERR_FAILED")
    page.fill("#query", '{ name = "charge" }')
    page.press("#query", "Control+Enter")
    page.locator(".results a", has_text="POST /orders").first.wait_for()
    assert page.locator(".cm-editor").count() == 0
    visit.check()


def test_what_is_typed_before_the_editor_comes_is_kept(visit, orders):
    page = visit.open()
    held = []
    page.route(CODE, lambda route: held.append(route))
    page.locator("#query").press_sequentially("{ ame = }")
    for _ in range(7):
        page.keyboard.press("ArrowLeft")
    eventually(lambda: page.evaluate("1") and held, "the editor is asked for")
    held[0].continue_()
    page.locator(".cm-content").wait_for()
    page.keyboard.type("n")
    assert written_query(page) == "{ name = }"
    page.keyboard.press("Control+z")
    assert written_query(page) == "{ ame = }"
    visit.check()


def test_error_is_marked_at_its_column(visit, orders):
    page = visit.open()
    element = editor(page)
    page.fill("#query", '{ name = "😀" && nme = 1 }')
    page.locator(".problem", has_text="(column 17)").wait_for()
    page.locator(".cm-problem").wait_for()
    assert page.locator(".cm-problem").inner_text() == "nme"
    assert element.get_attribute("aria-invalid") == "true"
    told = element.evaluate("e => e.ariaDescribedByElements[0].textContent")
    assert "unknown identifier: nme" in told
    page.fill("#query", '{ name = "a" ')
    page.locator(".cm-problem-end").wait_for()
    page.fill("#query", '{ name = "a" }')
    page.locator(".cm-problem").wait_for(state="detached")
    assert element.get_attribute("aria-invalid") is None
    visit.check()


def test_escape_leaves_the_editor_and_lines_are_begun_with_shift(visit, orders):
    page = visit.open()
    element = editor(page)
    assert element.get_attribute("aria-label") == "TraceQL query or trace id"
    page.keyboard.type("{ }")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("| ")
    option(page, "rate() spans a second").wait_for()
    page.keyboard.press("Escape")
    offers(page).first.wait_for(state="detached")
    page.keyboard.type("coalesce() // gx")
    page.keyboard.press("Escape")
    page.keyboard.type("gx")
    page.wait_for_url("**/ui/explore")
    page.go_back()
    editor(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    visit.check()


def test_pasted_trace_id_opens(browser, server, orders):
    visit = Visit(browser, server.url, permissions=["clipboard-read", "clipboard-write"])
    try:
        page = visit.open()
        page.evaluate("id => navigator.clipboard.writeText(id)", f" {orders.hex.upper()}\n")
        editor(page)
        page.keyboard.press("Control+v")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/ui/trace/{orders.hex}*")
        page.locator(".span-row").first.wait_for()
        visit.check()
    finally:
        visit.close()


@pytest.mark.parametrize("look", ["light wide", "dark narrow"])
def test_editor_is_coloured_and_accessible(browser, server, orders, look):
    visit = Visit(browser, server.url, **appearance(look))
    try:
        # The colours come without anybody writing.
        page = visit.open('ui/explore?q={ name = "charge" %26%26 duration > 1s } | rate() by (kind) // all')
        page.locator(".cm-content").wait_for()
        found = colours(page)
        kinds = [found[text] for text in ("name", '"charge"', "1s", "rate", "// all")]
        assert len(set(kinds)) == 5, found
        assert found["kind"] == found["name"] and found["by"] == found["rate"], found
        assert visit.axe() == []
        page.locator(".cm-content").click()
        page.keyboard.press("Control+Home")
        page.keyboard.press("ArrowRight")
        page.locator(".cm-matchingBracket").nth(1).wait_for()
        page.keyboard.press("Control+Space")
        offers(page).first.wait_for()
        page.keyboard.press("ArrowDown")
        assert visit.axe() == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        page.fill("#query", "{ name = }")
        page.locator(".cm-problem").wait_for()
        assert visit.axe() == []
        # Sheets that the root adopted, and no styles in the page.
        assert page.evaluate("document.querySelectorAll('style').length") == 0
        assert page.locator(".cm-content").evaluate("e => e.getRootNode().querySelectorAll('style').length") == 0
        assert page.locator(".cm-content").evaluate("e => e.getRootNode().adoptedStyleSheets.length") > 0
        visit.check()
    finally:
        visit.close()


def test_coloured_text_is_written_over(visit, orders):
    page = visit.open()
    element = editor(page)
    for text in ("12s", "34", '"a" = "b"', "{ }"):
        page.keyboard.press("Control+a")
        page.keyboard.type(text)
        assert element.inner_text() == text
    page.keyboard.press("Control+a")
    page.keyboard.press("Backspace")
    page.keyboard.type("5")
    page.fill("#query", "6")
    assert element.inner_text() == "6"
    visit.check()


def test_values_of_spans_stay_text_in_the_editor(visit, orders):
    page = visit.open()
    editor(page)
    page.keyboard.type('{ name = "<img')
    offers(page).filter(has_text="onerror").click()
    assert MARKUP.split()[0] in written_query(page)
    assert page.evaluate("window.hacked") is None
    # The editor's own empty image stands beside the mark of what is missing.
    assert page.locator("main img:not(.cm-widgetBuffer), main script").count() == 0
    visit.check()


def test_spans_of_a_trace_are_found_in_the_same_editor(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row").first.wait_for()
    page.keyboard.press("/")
    page.locator(".cm-content#find").wait_for()
    page.keyboard.type("{ resource.service.name = ")
    option(page, '"database"').wait_for()
    page.keyboard.type('"payment" }')
    page.get_by_text("4 matches").wait_for()
    page.keyboard.press("Enter")
    first = page.locator(".span-row.selected").inner_text()
    page.keyboard.press("Enter")
    page.locator(".span-row.selected", has_text="POST /cards").wait_for()
    page.keyboard.press("Shift+Enter")
    assert page.locator(".span-row.selected").inner_text() == first
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.locator(".flame").wait_for()
    visit.check()


@pytest.mark.parametrize("path", ["ui/map", "ui/live", "ui/explore"])
def test_every_page_that_takes_traceql_has_the_editor(visit, orders, path):
    page = visit.open(path)
    page.locator("#query").wait_for()
    editor(page)
    page.fill("#query", "{ status = ")
    page.keyboard.type("er")
    option(page, "error").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("}" if path != "ui/explore" else "} | rate()")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=*")
    visit.check()

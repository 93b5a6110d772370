"""Files with traces in the pages, links to elsewhere, and pages that nobody looks at."""
import gzip
import json
import os
import struct
import time

import pytest
import requests

from harness import otlp
from harness.browser import Visit, serving_pages, written_query
from harness.orders import MARKUP, pushed
from harness.protobuf import zipkin_list
from harness.waiting import eventually

MAX_BYTES = 400_000
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {
        "trace_files": {"max_bytes": MAX_BYTES, "max_spans": 300},
        "links": [
            {"title": "Logs", "url": "https://logs.example/explore?q={traceId}&from={start-1m}&user={span.user}"},
            {"title": "Region", "url": "https://metrics.example/{resource.region}/", "match": "resource.region=eu"},
            {"title": "Elsewhere", "url": "https://metrics.example/{resource.region}/", "match": "resource.region=us"},
            {"title": "Failure", "url": "https://errors.example/{event.exception.type}"},
        ],
    },
}
PATH = "/ui/api/trace-file"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_pages(tmp_path_factory.mktemp("file"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def orders(server):
    # Whole milliseconds: Jaeger and Zipkin have no nanoseconds.
    return pushed(server, (time.time_ns() // 10**9 - 20) * 10**9)


@pytest.fixture(scope="module")
def files(server, orders):
    """The stored trace in each format that a file may have."""
    found = {
        "OTLP JSON": server.get(f"/ui/api/traces/{orders.hex}/spans"),
        "OTLP protobuf": server.get(f"/api/traces/{orders.hex}", accept="application/protobuf"),
        "Tempo JSON": server.get(f"/api/traces/{orders.hex}"),
        "Jaeger JSON": server.get(f"/ui/api/traces/{orders.hex}/jaeger"),
        "Zipkin JSON": server.get(f"/zipkin/api/v2/trace/{orders.hex}"),
    }
    assert {answer.status_code for answer in found.values()} == {200}
    contents = {name: answer.content for name, answer in found.items()}
    return contents | {"Zipkin protobuf": zipkin_list(found["Zipkin JSON"].json())}


def ask(server, content, **params):
    return requests.post(server.url + PATH, params=params, data=content, timeout=30)


def rows(answer):
    """What a skeleton shows: of each row start, duration, id, parent, name, service, events, links and flags."""
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/vnd.tactus.skeleton"
    body = answer.content
    length = struct.unpack_from("<I", body)[0]
    header = json.loads(body[4:4 + length])
    begin = -(-(4 + length) // 8) * 8
    kinds = {"f64": "d", "u64": "Q", "i32": "i", "u32": "I", "u16": "H", "u8": "B"}
    columns = {
        column["name"]: struct.unpack_from(f"<{header['spans']}{kinds[column['type']]}", body, begin + column["offset"])
        for column in header["columns"]
    }
    columns["name"] = [header["names"][name] for name in columns["name"]]
    columns["service"] = [header["services"][service] for service in columns["service"]]
    return header["traceId"], header["start"], columns


@pytest.mark.parametrize("name", ["OTLP JSON", "OTLP protobuf", "Tempo JSON", "Jaeger JSON", "Zipkin JSON", "Zipkin protobuf"])
def test_every_format_shows_what_is_stored(server, orders, files, name):
    stored = rows(server.get(f"/ui/api/traces/{orders.hex}/skeleton"))
    for content in (files[name], gzip.compress(files[name])):
        listed = ask(server, content).json()
        assert (listed["format"], listed["spans"], listed["withoutTrace"], listed["more"]) == (name, 105, 0, 0)
        (trace,) = listed["traces"]
        assert (trace["traceId"], trace["spans"], trace["errors"]) == (orders.hex, 105, 4)
        assert int(trace["start"]) == orders.base and int(trace["duration"]) == 1840 * otlp.MILLISECOND
        found = rows(ask(server, content, trace=orders.hex))
        if name.startswith("Zipkin"):
            # Its names are lower case, and it has no links.
            for unlike in ("name", "links"):
                found[2].pop(unlike)
            assert found == (*stored[:2], {key: found for key, found in stored[2].items() if key not in ("name", "links")})
        else:
            assert found == stored
    matched = ask(server, files[name], trace=orders.hex, **{"as": "find", "q": '{ name = "charge" } >> { status = error }'})
    assert matched.json()["matched"] == 3


@pytest.mark.parametrize("form", ["spans", "jaeger"])
def test_download_opens_again_with_the_same_result(server, orders, files, form):
    content = files["OTLP JSON" if form == "spans" else "Jaeger JSON"]
    again = ask(server, content, trace=orders.hex, **{"as": form})
    assert again.status_code == 200
    stored = server.get(f"/ui/api/traces/{orders.hex}/{form}").json()
    if form == "spans":
        assert again.json() == stored
    else:
        assert sorted_jaeger(again.json()) == sorted_jaeger(stored)
    assert rows(ask(server, again.content, trace=orders.hex)) == rows(ask(server, content, trace=orders.hex))


def sorted_jaeger(envelope):
    """Jaeger's JSON without an order that means nothing: tags, and the names of processes."""
    (trace,) = envelope["data"]
    for process in trace["processes"].values():
        process["tags"].sort(key=lambda tag: tag["key"])
    for span in trace["spans"]:
        span["process"] = trace["processes"][span.pop("processID")]
        span["tags"].sort(key=lambda tag: tag["key"])
    trace.pop("processes")
    trace["spans"].sort(key=lambda span: span["spanID"])
    return trace


def test_what_is_no_file_is_refused_with_the_place(server, files):
    otlp_json = files["OTLP JSON"]
    cut = ask(server, otlp_json[:-2])
    assert cut.status_code == 400 and "EOF while parsing" in cut.text and "at line 1 column" in cut.text
    wrong = ask(server, otlp_json.replace(b'"kind":2', b'"kind":"SERVER"', 1))
    assert wrong.status_code == 400
    assert "resourceSpans[" in wrong.text and '.kind: unknown string value "SERVER" at line 1 column' in wrong.text
    damaged = ask(server, gzip.compress(otlp_json)[:-20])
    assert damaged.status_code == 400 and "cannot decompress the file" in damaged.text
    assert ask(server, b"").text.strip() == "the file is empty"
    assert "UTF-8" in ask(server, otlp_json.decode().encode("utf-16")).text
    assert "no JSON of traces" in ask(server, b"<!doctype html>\n<html>").text
    assert ask(server, otlp_json, trace="7").status_code == 404
    assert ask(server, otlp_json, trace="7", **{"as": "everything"}).status_code == 400


def test_file_is_bounded_in_bytes_and_spans(server):
    spans = [otlp.span(name=f"n{n}", start=time.time_ns()) for n in range(301)]
    many = ask(server, otlp.export(*spans).SerializeToString())
    assert many.status_code == 422 and "the file has 301 spans, more than 300" in many.text
    large = b'{"resourceSpans": []}' + b" " * MAX_BYTES
    for content in (large, gzip.compress(large)):
        refused = ask(server, content)
        assert refused.status_code == 422 and f"more than {MAX_BYTES} bytes" in refused.text
    jaeger = requests.post(server.url + "/jaeger/api/transform", data=large, timeout=30)
    assert jaeger.status_code == 422 and "query_frontend.trace_files.max_bytes" in jaeger.text


def test_nothing_of_a_file_is_stored(server, files):
    unknown = os.urandom(16).hex()
    content = files["OTLP JSON"].replace(ask(server, files["OTLP JSON"]).json()["traces"][0]["traceId"].encode(), unknown.encode())
    assert ask(server, content).json()["traces"][0]["traceId"] == unknown
    assert ask(server, content, trace=unknown).status_code == 200
    assert server.get(f"/ui/api/traces/{unknown}/skeleton").status_code == 404


def choose(page, name, content):
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "application/json", "buffer": content})


def test_trace_of_a_file_has_all_views(visit, files, orders):
    other = otlp.span(name="another trace", start=orders.base)
    two = files["OTLP protobuf"] + otlp.export(other, service="shop").SerializeToString()
    page = visit.open()
    opened = page.locator("h1", has_text="Open a file")

    def keys_open_it():
        # The page listens a moment after it was drawn.
        page.keyboard.press("g")
        page.keyboard.press("o")
        return opened.is_visible()

    eventually(keys_open_it, "the keys open the page of files")
    assert visit.axe() == []
    choose(page, "traces.pb", two)
    page.get_by_text("OTLP protobuf · 106 spans · 2 traces").wait_for()
    assert visit.axe() == []
    page.locator("a", has_text="another trace").wait_for()
    page.locator("a", has_text="POST /orders").click()
    page.locator("h1", has_text="shop POST /orders").wait_for()
    assert "105 spans · 3 services · ✕ 4 errors" in page.locator(".trace-head").inner_text()
    page.get_by_text("3 tries of payment POST /cards, each failed").wait_for()
    page.locator(".span-row", has_text="POST /orders").first.click()
    details = page.locator(".details")
    details.locator("dd", has_text=MARKUP).wait_for()
    page.fill("#find", '{ name = "charge" } > { status = error }')
    page.get_by_text("3 matches").wait_for()
    for view, shown in [("Flame graph", ".flame .box"), ("Table", ".sheet table"), ("Map", ".sheet svg")]:
        page.get_by_role("button", name=view, exact=True).click()
        page.locator(shown).first.wait_for()
        assert visit.axe() == [], view
    # Of the document: to load it again closes the file.
    page.evaluate("window.isSame = true")
    page.locator(".map a", has_text="payment").click()
    page.wait_for_url("**find=**payment**")
    page.get_by_text("4 matches").wait_for()
    assert page.evaluate("window.isSame")
    page.go_back()
    page.get_by_role("button", name="Waterfall").click()
    page.get_by_role("button", name="Copy link").wait_for(state="detached")
    with page.expect_download() as kept:
        page.get_by_role("button", name="Jaeger JSON").click()
    page.get_by_role("button", name="Open another file").click()
    choose(page, "again.json", open(kept.value.path(), "rb").read())
    page.locator("h1", has_text="shop POST /orders").wait_for()
    assert "105 spans · 3 services · ✕ 4 errors" in page.locator(".trace-head").inner_text()
    assert page.evaluate("window.hacked") is None
    visit.check()


def test_file_is_taken_by_dropping_and_pasting(visit, files, orders):
    page = visit.open("ui/file")
    page.locator("h1", has_text="Open a file").wait_for()
    page.evaluate("""text => {
        const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", text);
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }""", files["Zipkin JSON"].decode())
    page.locator("h1", has_text="shop post /orders").wait_for()
    page.locator("#find").focus()
    find = page.locator(".cm-content#find")
    find.wait_for()
    find.evaluate("""(element, text) => {
        const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", text);
        element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true, composed: true }));
    }""", '{ name = "charge" }')
    assert written_query(page, "#find") == '{ name = "charge" }'
    assert page.locator("h1", has_text="shop post /orders").count() == 1, "what is pasted into the field is no file"
    page.evaluate("""text => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([text], "dropped.json"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }""", files["Tempo JSON"].decode())
    page.locator("h1", has_text="shop POST /orders").wait_for()
    page.get_by_role("button", name="Open another file").click()
    page.get_by_label("Text of a file").fill('{"data": [{"spans": [{}]}]}')
    page.get_by_role("button", name="Open the text").click()
    page.get_by_text("missing field `traceID` at line 1 column").wait_for()
    visit.expect("400")
    page.get_by_role("button", name="Open another file").click()
    choose(page, "large.json", b" " * (MAX_BYTES + 1))
    too_large = page.get_by_text("large.json has 400 kB, more than the 400 kB that can be opened.")
    too_large.wait_for()
    choose(page, "good.json", files["Tempo JSON"])
    page.locator("h1", has_text="shop POST /orders").wait_for()
    assert too_large.count() == 0
    page.evaluate("""size => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(["x".repeat(size)], "large.json"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }""", MAX_BYTES + 1)
    too_large.wait_for()
    assert page.locator("h1", has_text="shop POST /orders").count() == 1, "the file before is still open"
    page.get_by_role("button", name="Open another file").click()
    page.locator("h1", has_text="Open a file").wait_for()
    assert too_large.count() == 0
    visit.check()


def test_trace_that_is_too_old_for_the_list_of_a_file_opens_by_its_id(visit, files, orders):
    traces = [{"traceId": f"{n:032x}", "service": "shop", "name": "newer", "start": "0", "duration": "0", "spans": 1, "errors": 0}
              for n in range(1, 30)]
    contents = {"format": "OTLP JSON", "spans": 300, "withoutTrace": 0, "more": 1, "traces": traces}

    def shorten(route):
        if "?" in route.request.url:
            route.continue_()
        else:
            route.fulfill(json=contents)

    visit.page.route("**/ui/api/trace-file**", shorten)
    page = visit.open("ui/file")
    choose(page, "traces.json", files["OTLP JSON"])
    page.get_by_text("1 older trace of the file is not listed; the id of one opens it.").wait_for()
    page.get_by_label("Name or id").fill(orders.hex)
    page.get_by_role("link", name=f"Open trace {orders.hex}").click()
    page.locator("h1", has_text="shop POST /orders").wait_for()
    visit.expect("404")
    page.go_back()
    page.get_by_label("Name or id").fill("f" * 32)
    page.get_by_role("link", name="Open trace").click()
    page.get_by_text(f"The file has no trace {'f' * 32}.").wait_for()
    visit.check()


def test_links_lead_where_the_configuration_says(visit, orders):
    page = visit.open(f"ui/trace/{orders.hex}")
    page.locator(".span-row", has_text="POST /orders").first.click()
    details = page.locator(".details")
    logs = details.get_by_role("link", name="Logs")
    logs.wait_for()
    # As a browser writes what encodeURIComponent made.
    user = page.evaluate("text => new URL('https://a/?' + encodeURIComponent(text)).search.slice(1)", MARKUP)
    begin = orders.base // 10**6 - 60_000
    assert logs.get_attribute("href") == f"https://logs.example/explore?q={orders.hex}&from={begin}&user={user}"
    assert logs.get_attribute("rel") == "noopener noreferrer"
    assert details.get_by_role("link", name="Region").get_attribute("href") == "https://metrics.example/eu/"
    assert details.get_by_role("link", name="Elsewhere").count() == 0
    page.locator(".span-row", has_text="charge").first.click()
    failure = details.get_by_role("link", name="Failure")
    failure.wait_for()
    assert failure.get_attribute("href") == "https://errors.example/Declined"
    assert details.get_by_role("link", name="Logs").count() == 0
    assert visit.axe() == []
    visit.check()


def test_ids_and_addresses_in_a_text_are_links(visit, server, orders):
    text = f"after {orders.hex}, see https://docs.example/a?b=c. (And https://docs.example/a_(b).) Not javascript:alert(1)"
    span = otlp.span(name="follow up", start=time.time_ns() - 10**9, attributes={"note": text})
    server.must_push(otlp.export(span))
    page = visit.open(f"ui/trace/{span.trace_id.hex()}")
    page.locator(".span-row").first.click()
    note = page.locator(".details dd", has_text="docs.example")
    note.wait_for()
    assert [link.get_attribute("href") for link in note.locator("bdi a").all()] == [
        f"trace/{orders.hex}", "https://docs.example/a?b=c", "https://docs.example/a_(b)"]
    note.locator("a").first.click()
    page.locator("h1", has_text="shop POST /orders").wait_for()
    visit.check()


def tails(server):
    """Live tails that the server has open."""
    lines = server.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("tempo_inflight_requests{") and "tail" in line)


def test_live_tail_ends_when_nobody_looks_and_goes_on(visit, server):
    visit.page.clock.install()
    page = visit.open("ui/live")
    hide = """isHidden => {
        Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    eventually(lambda: tails(server) == 1, "a tail is open")
    page.evaluate(hide, True)
    page.clock.fast_forward(14_000)
    assert tails(server) == 1
    page.clock.fast_forward(2_000)
    eventually(lambda: tails(server) == 0, "the server saw its end")
    page.evaluate(hide, False)
    eventually(lambda: tails(server) == 1, "the tail goes on")
    page.get_by_text("● live").wait_for()
    visit.check()


def test_live_tail_follows_again_after_its_server_was_away(browser, tmp_path):
    with serving_pages(tmp_path) as server:
        visit = Visit(browser, server.url)
        page = visit.open("ui/live")
        page.get_by_text("Matching spans appear here").wait_for()
        server.must_push(otlp.export(otlp.span(name="before")))
        page.locator(".live tbody tr", has_text="before").wait_for()
        # What the browser says of a request that nobody answers.
        visit.expect("ERR_")
        for end in server.stop, server.kill:
            end()
            page.get_by_role("alert").filter(has_text="it is tried again").wait_for()
            server.start()
            page.get_by_text("● live").wait_for(timeout=40_000)
            assert page.get_by_role("alert").count() == 0
            server.must_push(otlp.export(otlp.span(name=f"after {end.__name__}")))
            page.locator(".live tbody tr", has_text=f"after {end.__name__}").wait_for()
        assert page.locator(".live tbody tr", has_text="before").count() == 1
        visit.check()
        visit.close()

#!/usr/bin/env python3
"""Takes the pictures in docs/ui: each page in both themes, some in a narrow window, on a server with a shop that sometimes fails.

    scripts/ui_screenshots.py [NAME...]

NAME: some of the pictures. With Pillow installed they have 256 colours, and are a third as large. The binary is TACTUS_BIN, else
target/debug/tactus. scripts/incidents.py takes those of the incidents."""
import pathlib
import random
import sys
import tempfile
import time
import urllib.parse

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "integration-tests"))
from harness import incidents  # noqa: E402
from harness.browser import Visit, chromium  # noqa: E402
from harness.calls import Tracer  # noqa: E402
from harness.looking import drag  # noqa: E402
from harness.orders import Orders  # noqa: E402
from harness.pictures import keep  # noqa: E402
from harness.server import Tactus  # noqa: E402

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
HOUR = 3_600


def ask(page, **params):
    return f"ui/{page}?{urllib.parse.urlencode(params)}"


def traffic(choice):
    """Calls of a shop, most of them as they should be."""
    return choice.choices([
        lambda: incidents.order(80), lambda: incidents.order(1_400), lambda: incidents.history(12, False),
        lambda: incidents.history(90, True), lambda: incidents.parcel(choice, False), lambda: incidents.login(choice, False),
        lambda: incidents.login(choice, True), lambda: incidents.booking(choice.uniform(0, 200)), lambda: incidents.basket(False),
    ], [30, 2, 15, 1, 15, 20, 1, 8, 15])[0]()


def push_traffic(server, choice, count, oldest):
    """Returns the ids of the traces in hex."""
    tracer, now, whole, traces = Tracer(choice), time.time(), None, []
    for _ in range(count):
        trace, requests = tracer.requests(traffic(choice), int((now - choice.uniform(5, oldest)) * 1e9))
        traces.append(trace)
        for request in requests:
            if whole is None:
                whole = request
            else:
                whole.MergeFrom(request)
    server.must_push(whole)
    return traces


def settle(page):
    page.wait_for_load_state("networkidle")
    page.locator("main", has_text="reading…").wait_for(state="detached")


def show_span(page, _):
    page.locator(".findings button", has_text="the error begins").click()
    page.locator(".details h3", has_text="Resource").wait_for()


def draw_box(page, _):
    drag(page, page.locator(".heatmap .cells"), (.01, .02), (.99, .35))
    page.get_by_role("button", name="What differs").click()
    page.locator(".differences tbody tr").first.wait_for()


def follow(page, server):
    page.get_by_text("Matching spans appear here").wait_for()
    # Others each time: a trace that is pushed again at another time calls services that do not answer.
    choice = random.Random()
    for _ in range(3):
        push_traffic(server, choice, 6, 6)
        page.wait_for_timeout(300)
    page.locator(".live tbody tr").nth(10).wait_for()


def press_help(page, _):
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()


def complete(page, _):
    page.fill("#query", "")
    page.locator("#query").press_sequentially("{ resource.serv")
    page.get_by_role("option", name="resource.service.name", exact=True).wait_for()


def form(page, _):
    page.get_by_text("Form", exact=True).click()


def nothing(*_):
    pass


FAILED = '{ resource.service.name = "accounts" && status = error }'
# Name of a picture: path, what is done there, the window.
PICTURES = {
    "search": (ask("search", q='{ resource.service.name = "shop" && duration > 100ms }'), nothing, WIDE),
    "search-start": ("ui/search", nothing, WIDE),
    "search-completion": ("ui/search", complete, WIDE),
    "search-form": (ask("search", q='{ resource.service.name = "shop" && duration >= 1s }', columns="span.server.address"), form, WIDE),
    "search-wrong": (ask("search", q="{ name = }"), nothing, WIDE),
    "search-nothing": (ask("search", q='{ name = "nobody" }'), nothing, WIDE),
    "search-differs": (ask("search", q=FAILED, differs="1"), nothing, WIDE),
    "trace": ("ui/trace/{slow}", show_span, WIDE),
    "flame": ("ui/trace/{slow}?view=flame", nothing, WIDE),
    "table": ("ui/trace/{slow}?view=table", nothing, WIDE),
    "trace-map": ("ui/trace/{slow}?view=map", nothing, WIDE),
    "typical": ("ui/trace/{slow}?view=typical", nothing, WIDE),
    "trace-unknown": (f"ui/trace/{'0' * 31}9", nothing, WIDE),
    "compare": ("ui/compare/typical...{slow}", nothing, WIDE),
    "services": ("ui/services", nothing, WIDE),
    "operations": (ask("services", service="shop"), draw_box, WIDE),
    "map": ("ui/map", nothing, WIDE),
    "map-difference": (ask("map", range="15m", against="before"), nothing, WIDE),
    "explore": (ask("explore", q="{ kind = server } | quantile_over_time(duration, .5) by (resource.service.name)"), nothing, WIDE),
    "explore-heatmap": (ask("explore", q="{ kind = server } | histogram_over_time(duration) with(buckets=4)"), nothing, WIDE),
    "explore-bars": (ask("explore", q="{ kind = server } | count_over_time() by (resource.service.name)", view="bar"), nothing, WIDE),
    "live": (ask("live", q="{ kind = server }"), follow, WIDE),
    "file": ("ui/file", nothing, WIDE),
    "status": ("ui/status", nothing, WIDE),
    "keys": ("ui/search", press_help, WIDE),
    "search-narrow": (ask("search", q='{ resource.service.name = "shop" }'), nothing, NARROW),
    "trace-narrow": ("ui/trace/{slow}", show_span, NARROW),
    "services-narrow": ("ui/services", nothing, NARROW),
    "map-narrow": ("ui/map", nothing, NARROW),
    "explore-narrow": (ask("explore", q="{ kind = server } | rate() by (resource.service.name)"), nothing, NARROW),
    "live-narrow": (ask("live", q="{ kind = server }"), follow, NARROW),
    "status-narrow": ("ui/status", nothing, NARROW),
    "compare-narrow": ("ui/compare/typical...{slow}", nothing, NARROW),
}


def main():
    folder = REPOSITORY / "docs/ui"
    folder.mkdir(exist_ok=True)
    wanted = [name for name in PICTURES if name in sys.argv[1:] or not sys.argv[1:]]
    config = {"query_frontend": {"metrics": {"query_backend_after": "1s"}}}
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory, chromium() as browser:
        server = Tactus(directory, config=config).start()
        try:
            choice = random.Random(7)
            push_traffic(server, choice, 900, HOUR - 60)
            slow = Orders(time.time_ns() - 20 * 10**9)
            for request in slow.requests:
                server.must_push(request)
            server.flush()
            time.sleep(2)
            for theme in ("light", "dark"):
                for name in wanted:
                    path, act, size = PICTURES[name]
                    visit = Visit(browser, server.url, color_scheme=theme, viewport=size)
                    visit.page.set_default_timeout(120_000)
                    # What is wrong on purpose is refused.
                    visit.expect("404 (Not Found)")
                    visit.expect("400 (Bad Request)")
                    page = visit.open(path.replace("{slow}", slow.hex))
                    # A live tail is never done.
                    if "ui/live" not in path:
                        settle(page)
                    act(page, server)
                    page.wait_for_timeout(500)
                    keep(page, folder / f"{name}-{theme}.png", full_page=True)
                    visit.check()
                    visit.close()
                    print(name, theme, flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()

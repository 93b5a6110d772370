#!/usr/bin/env python3
"""Measures the bars of the pages in a headless Chromium: prints a table with a row for each, and ends with 1 if one is missed.

    scripts/bench_ui.py [SPANS...]

SPANS: sizes of the traces, by default 1000, 100000 and 1000000; bars are for these. Each figure is the median of five visits with an
empty browser; in brackets stands the best of them, which a machine that does other things as well disturbs least.
The binary is TACTUS_BIN, else target/debug/tactus: name a release build. Needs 8 GB of memory for a million spans."""
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration-tests"))
from harness import otlp  # noqa: E402
from harness.browser import Visit, appearance, chromium  # noqa: E402
from harness.orders import pushed  # noqa: E402
from harness.server import Tactus  # noqa: E402
from harness.slow import slow_query  # noqa: E402
from harness.waiting import eventually  # noqa: E402

ASSETS = pathlib.Path(__file__).resolve().parents[1] / "libs/ui/web/dist/site"
VISITS = 5
ROUNDS = 200
SERVICES = 12
CONFIG = {
    "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
    "query_frontend": {"search": {"concurrent_jobs": 1}},
    # The blocks of the slow search stay what they are.
    "compactor": {"compaction": {"compaction_cycle": "1h"}},
}
# No result comes before a block is searched: so many that one takes half of the bar. So many spans that a query of some
# lines is slow, not one of 6 kB, which nobody writes: a page would be measured that colours it.
SLOW_BLOCKS = 40
SLOW_SPANS = 120_000
# Of the live tail whose memory is looked at: three times as many spans a second as it shows.
TAIL_SECONDS = 240
TAIL_RATE = 600
# Milliseconds, by spans.
OPENED = {1_000: 400, 100_000: 1_000, 1_000_000: 5_000}
# Scrolls by a number of pixels a frame, and returns how long each frame took.
SCROLL = """async ([frames, pixels]) => {
  const rows = document.querySelector(".rows"), times = [];
  let before = await new Promise(requestAnimationFrame);
  for (let frame = 0; frame < frames; frame += 1) {
    rows.scrollTop += pixels;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - before);
    before = now;
  }
  return times;
}"""


# How long each task was that held the page up for more than 50 ms, and when it began.
LONG_TASKS = """window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longTasks.push([task.startTime, task.duration]);
}).observe({ type: "longtask", buffered: true });"""

# When a selector first found something to paint. In the page: asking from outside adds what the asking takes.
SHOWN = """window.shown = new Promise((found) => {
  requestAnimationFrame(function look() {
    if (document.querySelector(%s)) found(performance.now()); else requestAnimationFrame(look);
  });
});"""


def make_trace(server, count):
    """A tree of `count` spans with ten attributes each; a span has up to four children. Returns the id in hex."""
    trace, base = os.urandom(16), time.time_ns() - 60 * 10**9
    ids, batch = [], []
    for n in range(count):
        start, duration = n * 10_000, max(1_000, (count - n) * 10_000 if n == 0 else 5_000_000 // (n % 97 + 1))
        span = otlp.span(
            trace, name=f"operation {n % 60}", start=base + start, duration=duration,
            parent_span_id=ids[(n - 1) // 4] if n else b"",
            attributes={f"attribute.{a}": f"value {n % (a + 7)}" for a in range(9)} | {"number": n})
        ids.append(span.span_id)
        batch.append(span)
        if len(batch) == 2_000 or n == count - 1:
            server.must_push(otlp.export(*batch, service=f"service-{n // 2_000 % SERVICES}"))
            batch = []
    path = f"/ui/api/traces/{trace.hex()}/skeleton"
    eventually(lambda: f'"spans":{count},'.encode() in server.get(path).content[:200_000_000], f"{count} spans", 600)
    return trace.hex()


def measured(browser, server, path, ready, is_whole=True):
    """(milliseconds until `ready` is shown, bytes that came, visit) of a page in an empty browser. Close the visit.

    is_whole: wait for all that the page asks for."""
    visit = Visit(browser, server.url)
    visit.page.set_default_timeout(60_000)
    visit.context.add_init_script(LONG_TASKS)
    client = visit.context.new_cdp_session(visit.page)
    client.send("Network.enable")
    sizes = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    visit.context.add_init_script(SHOWN % json.dumps(ready))
    visit.open(path)
    visit.shown = visit.page.evaluate("window.shown")
    if is_whole:
        visit.page.wait_for_load_state("networkidle")
    return visit.shown, sum(sizes), visit


def find(page, text, said):
    before = time.monotonic()
    page.fill("#find", text)
    page.get_by_text(said).wait_for()
    return (time.monotonic() - before) * 1_000


def quantile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


class Bars:
    """The table: what is measured, its bar, and whether it is kept."""

    def __init__(self):
        self.missed = 0
        print("| what | bar | median (best) | |\n|---|---|---|---|", flush=True)

    def add(self, what, bar, figures, unit="ms"):
        """`bar`: the most that is kept, or None where there is none."""
        middle, best = statistics.median(figures), min(figures)
        is_kept = bar is None or middle <= bar
        self.missed += not is_kept
        digits = 1 if unit == "KiB" else 2 if unit == "s" else 0
        text = f"{middle:.{digits}f} ({best:.{digits}f}) {unit}".strip()
        print(f"| {what} | {'' if bar is None else f'{bar} {unit}'.strip()} | {text} | {'kept' if is_kept else '**missed**'} |", flush=True)

    def frames(self, what, visits):
        """Of each visit how long its frames took."""
        self.add(f"{what}, 95th percentile", 20, [quantile(frames, .95) for frames in visits])
        self.add(f"{what}, longest frame", 50, [max(frames) for frames in visits])


def skeleton_figures(server, trace, count, bars):
    """Processor time of the server for the columns of a trace."""
    path, spent = f"/ui/api/traces/{trace}/skeleton", []
    for _ in range(3):
        before = server.metric("process_cpu_seconds_total")
        assert server.get(path, headers={"Accept-Encoding": "gzip"}).status_code == 200
        spent.append(server.metric("process_cpu_seconds_total") - before)
    shown = f"{count:,} spans".replace(",", " ")
    bars.add(f"{shown}: processor time of the server for the columns", 1.5 if count == 1_000_000 else None, spent, "s")


def trace_figures(browser, server, count, bars):
    opened, slow, fast, names, queries, nodes, heaps, held_up = [], [], [], [], [], [], [], []
    trace = make_trace(server, count)
    shown = f"{count:,} spans".replace(",", " ")
    is_large = count > 100_000
    said = f"{len(range(7, count, 60)):,} matches".replace(",", " ")
    for _ in range(VISITS):
        took, _, visit = measured(browser, server, f"ui/trace/{trace}", ".span-row")
        page = visit.page
        opened.append(took)
        page.locator(".findings li").first.wait_for()
        page.wait_for_timeout(500)
        tasks = page.evaluate("window.longTasks")
        held_up.append(max((took for start, took in tasks if start > visit.shown), default=0))
        slow.append(page.evaluate(SCROLL, [ROUNDS, 60]))
        fast.append(page.evaluate(SCROLL, [ROUNDS, 3_000]))
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
        names.append(find(page, "operation 59", f"{len(range(59, count, 60)):,} matches".replace(",", " ")))
        queries.append(find(page, '{ name = "operation 7" }', said))
        heaps.append(page.evaluate("performance.memory.usedJSHeapSize") / 2**20)
        visit.check()
        visit.close()
    bars.add(f"{shown}: from navigation to rows", OPENED.get(count), opened)
    bars.frames(f"{shown}: scroll by 60 px", slow)
    bars.frames(f"{shown}: scroll by 3 000 px", fast)
    bars.add(f"{shown}: longest task over 50 ms after the first rows", 0, held_up)
    bars.add(f"{shown}: find a name", None if is_large else 100, names)
    bars.add(f"{shown}: find by TraceQL", None if is_large else 500, queries)
    bars.add(f"{shown}: DOM nodes", 2_500, nodes, "")
    bars.add(f"{shown}: heap", None if is_large else 150, heaps, "MiB")
    skeleton_figures(server, trace, count, bars)


def first_view(browser, server, bars):
    took, sizes = [], []
    for _ in range(VISITS):
        time_taken, size, visit = measured(browser, server, "ui/", "#query")
        took.append(time_taken)
        sizes.append(size / 1024)
        encoding = visit.page.evaluate(ENCODING)
        visit.check()
        visit.close()
    bars.add(f"first view, transferred ({encoding})", 100 if encoding == "br" else 115, sizes, "KiB")
    bars.add("search page usable", 500, took)
    for end, name, bar in (("br", "brotli", 320), ("gz", "gzip", 380)):
        packed = sum(file.stat().st_size for file in ASSETS.rglob(f"*.{end}")) / 1024
        bars.add(f"all files, {name}", bar, [packed], "KiB")


# How the script of the page came.
ENCODING = """async () => (await fetch(document.querySelector("script[src]").src, {cache: "no-store"})).headers.get("content-encoding")"""


# How long after a click on "Run" the first row was there to paint. In the page, as above.
FIRST_ROW = """window.firstRow = new Promise((found) => {
  addEventListener("click", (event) => {
    if (event.target.textContent !== "Run") return;
    requestAnimationFrame(function look() {
      if (document.querySelector(".results tbody tr")) found(performance.now() - event.timeStamp); else requestAnimationFrame(look);
    });
  }, { capture: true });
});"""


def query_figures(browser, server, bars):
    """The first result of a search that takes ten seconds or more, on blocks that are read one after the other."""
    now = time.time_ns()
    for block in range(SLOW_BLOCKS):
        spans = [otlp.span(name="slow", start=now - 10**10, attributes={"text": os.urandom(400).hex(), "found": int(n == 0)})
                 for n in range(SLOW_SPANS // SLOW_BLOCKS)]
        server.must_push(otlp.export(*spans, service="slow"))
        server.flush()
    eventually(lambda: len(server.block_directories()) >= 1, "blocks")
    parts = 1
    while True:
        before = time.monotonic()
        server.search(slow_query(parts, "span.found = 1"))
        whole = time.monotonic() - before
        if whole >= 10 or parts >= 200:
            break
        parts = min(200, max(parts + 1, int(parts * min(12 / max(whole, 0.05), 8))))
    took, linked = [], []
    for n in range(VISITS):
        # Another query each time, so that no answer is kept.
        query = slow_query(parts, f"span.found = 1 && span.found != {n + 2}")
        visit = Visit(browser, server.url)
        visit.page.set_default_timeout(120_000)
        visit.context.add_init_script(FIRST_ROW)
        page = visit.open("ui/search?" + urllib.parse.urlencode({"range": "15m"}))
        page.locator("#query").wait_for()
        page.fill("#query", query)
        # Whoever has written a query has had the editor, and what it says of the query, for a while.
        page.locator("#query.cm-content").wait_for()
        page.get_by_text("Would read at most").wait_for()
        page.get_by_role("button", name="Run").click()
        took.append(page.evaluate("window.firstRow"))
        visit.close()
        query = slow_query(parts, f"span.found = 1 && span.found != {n + 2 + VISITS}")
        path = "ui/search?" + urllib.parse.urlencode({"range": "15m", "q": query})
        shown, _, visit = measured(browser, server, path, ".results tbody tr", is_whole=False)
        linked.append(shown)
        visit.close()
    bars.add(f"first result of a search of {whole:.0f} s, {len(query)} characters, from Run to the row", 500, took)
    bars.add("the same, from navigation to a link with the query", None, linked)


def tail_figures(browser, server, bars):
    visit, took = Visit(browser, server.url), []
    page = visit.open("ui/live")
    page.get_by_text("Matching spans appear here").wait_for()
    for n in range(VISITS):
        before = time.monotonic()
        server.must_push(otlp.export(otlp.span(name=f"tick {n}"), service="live"))
        page.locator(".live tbody tr", has_text=f"tick {n}").wait_for()
        took.append((time.monotonic() - before) * 1_000)
    visit.check()
    visit.close()
    bars.add("live tail, span sent to row", 1_000, took)


def tail_memory(browser, server, bars):
    """Heap and nodes of a page that follows many spans, after a third of the time and at its end."""
    visit = Visit(browser, server.url)
    page = visit.open("ui/live")
    page.get_by_text("Matching spans appear here").wait_for()
    client = visit.context.new_cdp_session(page)

    def held():
        # What one collection finds to finalise the next one frees. `performance.memory` is rounded to buckets of megabytes.
        for _ in range(2):
            client.send("HeapProfiler.collectGarbage")
        return client.send("Runtime.getHeapUsage")["usedSize"] / 2**20, page.evaluate("document.querySelectorAll('*').length")

    pushed_spans, began, early = 0, time.monotonic(), None
    while (passed := time.monotonic() - began) < TAIL_SECONDS:
        spans = [otlp.span(name=f"follow {n}", attributes={"k": os.urandom(200).hex()}) for n in range(TAIL_RATE // 10)]
        server.must_push(otlp.export(*spans, service="live"))
        pushed_spans += len(spans)
        if early is None and passed > TAIL_SECONDS / 3:
            early = held()
        time.sleep(max(0, began + pushed_spans / TAIL_RATE - time.monotonic()))
    late = held()
    visit.check()
    visit.close()
    count = f"{pushed_spans:,}".replace(",", " ")
    shown = f"live tail, {count} spans in {TAIL_SECONDS / 60:.0f} min"
    bars.add(f"{shown}: heap at the end", None, [late[0]], "MiB")
    bars.add(f"{shown}: heap that came in the last two thirds", 2, [late[0] - early[0]], "MiB")
    bars.add(f"{shown}: DOM nodes that came", 100, [late[1] - early[1]], "")


def problems(browser, server, bars):
    """What axe and the browser say of each page, in both themes and widths."""
    trace = pushed(server, time.time_ns() - 20 * 10**9).hex
    pages = ["search?q=%7B%7D", "services", "map", "explore?q=%7B%7D%7Crate()", "live", "status", "file", f"trace/{trace}",
             f"trace/{trace}?view=flame", f"trace/{trace}?view=table", f"trace/{trace}?view=typical", f"compare/{trace}...{trace}"]
    found, reported = 0, 0
    for look in ("light wide", "dark wide", "light narrow", "dark narrow"):
        for path in pages:
            visit = Visit(browser, server.url, **appearance(look))
            visit.open("ui/" + path)
            visit.page.locator("main").wait_for()
            if path != "live":
                visit.page.wait_for_load_state("networkidle")
            found += len(visit.axe())
            reported += len(visit.problems) + len(visit.foreign)
            visit.close()
    bars.add(f"axe, {len(pages)} pages in both themes and widths", 0, [found], "")
    bars.add("console, exceptions and policy on these", 0, [reported], "")


def main():
    sizes = [int(size) for size in sys.argv[1:]] or [1_000, 100_000, 1_000_000]
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory, chromium() as browser:
        server = Tactus(directory, config=CONFIG).start()
        try:
            bars = Bars()
            first_view(browser, server, bars)
            problems(browser, server, bars)
            tail_figures(browser, server, bars)
            tail_memory(browser, server, bars)
            query_figures(browser, server, bars)
            for count in sizes:
                trace_figures(browser, server, count, bars)
        finally:
            server.close()
    sys.exit(1 if bars.missed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures the pages in a headless Chromium against a server with one trace of each size; prints a table.

    scripts/bench_ui.py [SPANS...]

SPANS: sizes of the traces, by default 1000, 100000 and 1000000. Each figure is the median of five visits with an empty browser; in
brackets stands the best of them, which a machine that does other things as well disturbs least.
The binary is TACTUS_BIN, else target/debug/tactus."""
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration-tests"))
from harness import otlp  # noqa: E402
from harness.browser import Visit, chromium  # noqa: E402
from harness.server import Tactus  # noqa: E402
from harness.waiting import eventually  # noqa: E402

ASSETS = pathlib.Path(__file__).resolve().parents[1] / "libs/ui/web/dist/site"
VISITS = 5
ROUNDS = 200
SERVICES = 12
CONFIG = {"overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}}}
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


def measured(browser, server, path, ready):
    """(milliseconds until `ready` is shown, bytes that came, visit) of a page in an empty browser. Close the visit."""
    visit = Visit(browser, server.url)
    visit.context.add_init_script(LONG_TASKS)
    client = visit.context.new_cdp_session(visit.page)
    client.send("Network.enable")
    sizes = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    before = time.monotonic()
    visit.open(path)
    visit.page.locator(ready).first.wait_for()
    took = (time.monotonic() - before) * 1_000
    visit.shown = visit.page.evaluate("performance.now()")
    visit.page.wait_for_load_state("networkidle")
    return took, sum(sizes), visit


def find(page, text, said):
    before = time.monotonic()
    page.fill("#find", text)
    page.get_by_text(said).wait_for()
    return (time.monotonic() - before) * 1_000


def quantile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def middle(times):
    return f"{statistics.median(times):.0f} ({min(times):.0f}) ms"


def scrolled(visits):
    """The 95th percentile and the longest of all frames of the visits; and of the smoothest one."""
    frames = [frame for frames in visits for frame in frames]
    best = min(visits, key=max)
    return f"{quantile(frames, .95):.0f} / {max(frames):.0f} ({quantile(best, .95):.0f} / {max(best):.0f}) ms"


def trace_figures(browser, server, count):
    opened, scrolls, fast, names, queries, nodes, heaps, held_up = [], [], [], [], [], [], [], []
    trace = make_trace(server, count)
    matching = len(range(7, count, 60))
    for _ in range(VISITS):
        took, _, visit = measured(browser, server, f"ui/trace/{trace}", ".span-row")
        page = visit.page
        opened.append(took)
        page.locator(".findings li").first.wait_for()
        page.wait_for_timeout(500)
        tasks = page.evaluate("window.longTasks")
        held_up.append(max((took for start, took in tasks if start > visit.shown), default=0))
        scrolls.append(page.evaluate(SCROLL, [ROUNDS, 60]))
        fast.append(page.evaluate(SCROLL, [ROUNDS, 3_000]))
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
        said = f"{matching:,} matches".replace(",", " ")
        names.append(find(page, "operation 59", f"{len(range(59, count, 60)):,} matches".replace(",", " ")))
        queries.append(find(page, '{ name = "operation 7" }', said))
        heaps.append(page.evaluate("performance.memory.usedJSHeapSize") / 2**20)
        visit.check()
        visit.close()
    print(f"| {count:,} spans".replace(",", " ") + f" | {middle(opened)} | {scrolled(scrolls)} | {scrolled(fast)} | {middle(held_up)} | "
          f"{middle(names)} | {middle(queries)} | {max(nodes)} | {max(heaps):.0f} MiB |", flush=True)


def main():
    sizes = [int(size) for size in sys.argv[1:]] or [1_000, 100_000, 1_000_000]
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory, chromium() as browser:
        server = Tactus(directory, config=CONFIG).start()
        try:
            views = []
            for _ in range(VISITS):
                took, size, visit = measured(browser, server, "ui/", "#query")
                views.append((took, size))
                visit.close()
            size = statistics.median(size for _, size in views)
            print(f"first view: {size / 1024:.1f} KiB transferred, usable after {middle([took for took, _ in views])}")
            packed = {end: sum(file.stat().st_size for file in ASSETS.rglob(f"*.{end}")) / 1024 for end in ("br", "gz")}
            print(f"all files: {packed['br']:.0f} KiB brotli, {packed['gz']:.0f} KiB gzip\n")
            print("| trace | navigation to rows | scroll 60 px a frame, p95 / longest | 3 000 px a frame | longest task after the first rows | "
                  "find a name | by TraceQL | DOM nodes | heap |")
            print("|---|---|---|---|---|---|---|---|---|")
            for count in sizes:
                trace_figures(browser, server, count)
        finally:
            server.close()


if __name__ == "__main__":
    main()

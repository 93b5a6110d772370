#!/usr/bin/env python3
"""Takes the pictures in docs/ui: each page in both themes, on a server with a shop that sometimes fails.

    scripts/ui_screenshots.py

The binary is TACTUS_BIN, else target/debug/tactus."""
import pathlib
import random
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "integration-tests"))
from harness import otlp  # noqa: E402
from harness.browser import Visit, chromium  # noqa: E402
from harness.orders import CLIENT, FAILED, SERVER, Orders  # noqa: E402
from harness.server import Tactus  # noqa: E402

PAGES = {
    "search": "ui/search?q=" + '{ resource.service.name = "shop" }',
    "trace": "ui/trace/{id}?span=0000000000000002",
    "flame": "ui/trace/{id}?view=flame",
    "table": "ui/trace/{id}?view=table",
    "compare": "ui/compare/{fast}...{id}",
    "services": "ui/services",
    "map": "ui/map",
    "explore": "ui/explore?q={ kind = server } | quantile_over_time(duration, .5, .95) by (resource.service.name)",
}
MS = otlp.MILLISECOND


def order(base, choice):
    """A trace of the shop as it usually is: 60 to 400 ms. Returns export requests and the id in hex."""
    took = choice.randint(60, 400)
    root = otlp.span(name="POST /orders", start=base, duration=took * MS, kind=SERVER, attributes={"http.route": "/orders"})
    below = {"parent_span_id": root.span_id, "kind": SERVER}
    charge = otlp.span(root.trace_id, name="charge", start=base + 20 * MS, duration=(took - 40) * MS, **below)
    cards = otlp.span(root.trace_id, name="POST /cards", start=base + 25 * MS, duration=(took - 50) * MS, kind=CLIENT,
                      parent_span_id=charge.span_id, **({"status": FAILED} if took > 360 else {}))
    cart = otlp.span(root.trace_id, name="GET /cart", start=base + 2 * MS, duration=15 * MS, **below)
    read = otlp.span(root.trace_id, name="HGETALL", start=base + 4 * MS, duration=8 * MS, kind=CLIENT,
                     parent_span_id=cart.span_id, attributes={"db.system": "redis"})
    return [otlp.export(root, service="shop"), otlp.export(charge, cards, service="payment"),
            otlp.export(cart, read, service="cart")], root.trace_id.hex()


def main():
    folder = REPOSITORY / "docs/ui"
    folder.mkdir(exist_ok=True)
    choice = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory, chromium() as browser:
        server = Tactus(directory, config={"query_frontend": {"metrics": {"query_backend_after": "1s"}}}).start()
        try:
            now = time.time_ns()
            fast = None
            for _ in range(400):
                requests, fast = order(now - choice.randint(10, 3_500) * 10**9, choice)
                for request in requests:
                    server.must_push(request)
            slow = Orders(now - 20 * 10**9)
            for request in slow.requests:
                server.must_push(request)
            time.sleep(2)
            for theme in ("light", "dark"):
                for name, path in PAGES.items():
                    visit = Visit(browser, server.url, color_scheme=theme, viewport={"width": 1280, "height": 720})
                    page = visit.open(path.format(id=slow.hex, fast=fast) if "/trace/" in path or "compare" in path else path)
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(500)
                    page.screenshot(path=folder / f"{name}-{theme}.png")
                    visit.check()
                    visit.close()
        finally:
            server.close()


if __name__ == "__main__":
    main()

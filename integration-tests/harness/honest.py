"""A tenant that pushes and searches as ever, whatever others do to the server meanwhile."""
import math
import statistics
import threading
import time

import requests

from . import otlp
from .waiting import eventually

SPANS_A_PUSH = 250


class Honest:
    """Pushes `rate` spans a second and searches once a second, from `with` to its end, each on a thread of its own.

    Nothing may be refused, each search must find the whole push that it asks for, and all that was pushed must be there at the
    end: `lost_nothing`. How long searches took is in `seconds`; `p99` is asserted only where the machine does nothing else."""

    def __init__(self, server, rate=5_000, tenant="honest"):
        self.server, self.rate = server, rate
        self.headers = {"X-Scope-OrgID": tenant}
        self.pushed, self.seconds, self.wrong = 0, [], []
        self.began = time.time()
        # Not those of another one before it.
        self.first = int(self.began * 1000)
        self.over = threading.Event()
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.push, self.search)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        eventually(lambda: self.seconds or self.wrong, "a search is answered", 60)
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(120)

    def push(self):
        with requests.Session() as session:
            began = time.monotonic()
            while not self.over.is_set():
                number = self.first + self.pushed // SPANS_A_PUSH
                spans = [otlp.span(name="order", attributes={"push": number}) for _ in range(SPANS_A_PUSH)]
                body = otlp.export(*spans).SerializeToString()
                try:
                    response = session.post(
                        self.server.otlp_url + "/v1/traces", data=body, timeout=60,
                        headers={**self.headers, "Content-Type": "application/x-protobuf"})
                    if response.status_code != 200:
                        self.wrong.append(("push", response.status_code, response.text[:200]))
                except requests.RequestException as error:
                    self.wrong.append(("push", error))
                self.pushed += SPANS_A_PUSH
                self.over.wait(max(0.0, began + self.pushed / self.rate - time.monotonic()))

    def search(self):
        with requests.Session() as session:
            while not self.over.wait(max(0.0, 1 - (self.seconds[-1] if self.seconds else 0))):
                number = self.first + self.pushed // SPANS_A_PUSH - 1
                if number < self.first:
                    continue
                params = {"q": f"{{ .push = {number} }}", "limit": 2 * SPANS_A_PUSH,
                          "start": int(self.began) - 60, "end": int(time.time()) + 60}
                asked = time.monotonic()
                try:
                    response = session.get(
                        self.server.url + "/api/search", params=params, headers=self.headers, timeout=60)
                    found = len(response.json()["traces"]) if response.status_code == 200 else response.text[:200]
                except requests.RequestException as error:
                    found = error
                self.seconds.append(time.monotonic() - asked)
                if found != SPANS_A_PUSH:
                    self.wrong.append(("search", number, found))

    def count(self):
        """Of the spans that were pushed, those that the server has."""
        params = {"q": f"{{ .push >= {self.first} }} | count_over_time()",
                  "start": int(self.began) - 60, "end": int(time.time()) + 60}
        response = requests.get(
            self.server.url + "/api/metrics/query", params=params, headers=self.headers, timeout=60)
        return sum(series["value"] for series in response.json()["series"]) if response.status_code == 200 else None

    def lost_nothing(self):
        assert not self.wrong, self.wrong[:5]
        assert self.seconds, "nothing was searched"
        eventually(lambda: self.count() == self.pushed, f"all {self.pushed} spans are there", 60)

    @property
    def p99(self):
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    def figures(self):
        return (f"{self.pushed} spans, {len(self.seconds)} searches: median {statistics.median(self.seconds):.3f} s, "
                f"p99 {self.p99:.3f} s")

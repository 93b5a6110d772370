"""Two traces with known answers, held in every form that a server keeps spans in."""
import contextlib
import shutil
import time

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import otlp
from harness.servers import Servers
from harness.waiting import eventually

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
ERROR = Status(code=Status.STATUS_CODE_ERROR, message="card declined")
MS = otlp.MILLISECOND


class Shop:
    """Two traces with known answers, pushed at `base` (nanoseconds)."""

    def __init__(self, base):
        self.base = base
        self.cart = bytes.fromhex("00000000000000000123456789abcdef")
        self.pay = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
        root = otlp.span(self.cart, b"\0" * 7 + b"\1", "GET /cart", base, 100 * MS, kind=SERVER, attributes={
            "http.status_code": 200, "user": "ada", "ratio": 0.5, "vip": True, "tags": ["a", "b"]})
        read = otlp.span(self.cart, b"\0" * 7 + b"\2", "HGETALL", base + 10 * MS, 20 * MS, kind=CLIENT,
                         parent_span_id=root.span_id, attributes={"db.system": "redis"})
        read.events.add(name="cache miss", time_unix_nano=base + 11 * MS, attributes=otlp.key_values({"keys": 3}))
        charge = otlp.span(self.pay, b"\0" * 7 + b"\3", "charge", base + 500 * MS, 900 * MS, kind=SERVER, status=ERROR,
                           attributes={"http.status_code": 500, "user": "grace"})
        charge.links.add(trace_id=self.cart, span_id=root.span_id)
        self.requests = [
            otlp.export(root, read, service="cart", resource={"region": "eu"}, scope="lib-cart"),
            otlp.export(charge, service="payment", resource={"region": "us"}, scope="lib-pay"),
        ]

    @property
    def window(self):
        return {"start": self.base // 10**9 - 60, "end": self.base // 10**9 + 60}


# In which form the spans are when the questions come.
FORMS = ["live", "segments", "blocks", "live and segments", "live and blocks", "blocks only"]


@contextlib.contextmanager
def shop_in(form, directory):
    """(server, shop) with the shop's spans in one form."""
    servers = Servers(directory)
    keep = {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}}
    cut = {"ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"}}
    server = servers.start(config=cut if "segments" in form else keep)
    shop = Shop(time.time_ns() - 10 * 10**9)
    first, second = shop.requests
    server.must_push(first)
    if form in ("segments", "live and segments"):
        eventually(server.segments, "a segment")
    if form in ("blocks", "live and blocks"):
        server.flush()
        eventually(server.block_directories, "a block")
    server.must_push(second)
    if form == "segments":
        eventually(lambda: len(server.segments()) > 1, "another segment")
    if form in ("blocks", "blocks only"):
        server.flush()
        eventually(lambda: len(server.block_directories()) == (2 if form == "blocks" else 1), "all blocks")
    if form == "blocks only":
        server.stop()
        shutil.rmtree(server.wal)
        server.start()
        eventually(lambda: server.search("{}"), "the block is known")
    try:
        yield server, shop
    finally:
        servers.close()

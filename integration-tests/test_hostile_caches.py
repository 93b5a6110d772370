"""Cache servers that send more than anybody stored: memory is bounded, and answers come from the bucket."""
import contextlib
import shutil
import socketserver
import threading
import time

import pytest

from harness import otlp
from harness.clients import at_once
from harness.server import merge
from harness.waiting import eventually

MIB = 1 << 20
ROLES = ["bloom", "parquet-footer", "parquet-offset-idx", "parquet-page", "frontend-search"]
FAST = {"ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"}, "storage": {"trace": {"blocklist_poll": "500ms"}}}
# Values in transit and their buffers, and what the process has besides.
MOST_PEAK = 512 * MIB


class Liar(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A memcached that sends zeros as the value of every key, as long as it likes."""

    daemon_threads = allow_reuse_address = True
    request_queue_size = 100

    def __init__(self, value_bytes):
        super().__init__(("127.0.0.1", 0), Connection)
        self.value_bytes, self.asked = value_bytes, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def config(self):
        return {"memcached": {"addresses": f"127.0.0.1:{self.server_address[1]}", "timeout": "2s"}}


class Connection(socketserver.StreamRequestHandler):
    def value(self, head):
        self.server.asked += 1
        self.wfile.write(head)
        for _ in range(self.server.value_bytes // MIB):
            self.wfile.write(bytes(MIB))
        self.wfile.write(b"\r\n")

    def handle(self):
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                command, *words = line.split()
                if command == b"get":
                    for key in words:
                        self.value(b"VALUE %s 0 %d\r\n" % (key, self.server.value_bytes))
                    self.wfile.write(b"END\r\n")
                elif command == b"set":
                    self.rfile.read(int(words[3]) + 2)
                    self.wfile.write(b"STORED\r\n")
                else:
                    self.wfile.write(b"VERSION 1\r\n")


@pytest.mark.parametrize("value_bytes", [256 * MIB, 15 * MIB], ids=["larger than is stored", "very many bytes"])
def test_values_without_end_cost_bounded_memory(servers, bucket, value_bytes):
    with Liar(value_bytes) as liar:
        caches = {"cache": {"caches": [{"roles": ROLES, **liar.config()}]}}
        server = servers.start(config=merge(merge(FAST, bucket.config()), caches))
        now = int(time.time())
        trace_ids = []
        for count in range(1, 5):
            trace_ids += [otlp.push_trace(server, spans=4) for _ in range(5)]
            server.flush()
            eventually(lambda n=count: len(bucket.blocks()) == n, "the block")
        assert server.stop() == 0
        shutil.rmtree(server.wal, ignore_errors=True)
        server.start()
        eventually(lambda: len(server.search("{}")) == 20, "all traces from the bucket")
        server.forget_peak()

        def ask(number):
            if number % 2:
                return len(server.trace(trace_ids[number % len(trace_ids)]))
            return len(server.search(f"{{ duration > {number}ns }}", start=now - 600, end=now + 600))

        assert set(at_once(ask, 32, 8)) == {4, 20}
        assert liar.asked > 0
        peak = server.peak_resident_bytes()
        print(f"peak {peak >> 20} MiB, {liar.asked} values")
        assert peak < MOST_PEAK, f"{peak >> 20} MiB"
        liar.shutdown()

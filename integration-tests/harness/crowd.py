"""Pushes of very many tenants, one small span each: as fast as one connection takes them."""
import collections
import socket

from . import otlp

# Requests on their way at a time.
WINDOW = 64


def body(trace_id=None):
    return otlp.export(*otlp.trace(1, trace_id=trace_id), service="crowd").SerializeToString()


class Crowd:
    """One connection to the OTLP/HTTP port."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.otlp_http_port), timeout=300)
        self.answers = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.socket.close()

    def send(self, tenant, payload):
        head = (f"POST /v1/traces HTTP/1.1\r\nHost: t\r\nX-Scope-OrgID: {tenant}\r\n"
                f"Content-Type: application/x-protobuf\r\nContent-Length: {len(payload)}\r\n\r\n")
        self.socket.sendall(head.encode("latin-1") + payload)

    def answer(self):
        """Status and text of the next answer."""
        status = int(self.answers.readline().split()[1])
        length = 0
        while (line := self.answers.readline().strip().lower()):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, self.answers.read(length).decode(errors="replace")

    def push(self, tenants, payload=None):
        """One push of each tenant. Answers by status: the tenants, in order."""
        by_status, waiting = collections.defaultdict(list), collections.deque()
        payload = payload or body()

        def take():
            tenant = waiting.popleft()
            by_status[self.answer()[0]].append(tenant)

        for tenant in tenants:
            self.send(tenant, payload)
            waiting.append(tenant)
            if len(waiting) >= WINDOW:
                take()
        while waiting:
            take()
        return by_status


def maps(server):
    """Memory maps of the server's process."""
    with open(f"/proc/{server.pid}/maps") as lines:
        return sum(1 for _ in lines)

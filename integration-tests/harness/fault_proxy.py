"""A TCP proxy in front of an HTTP server that misbehaves on command."""
import asyncio
import random
import socket
import struct
import threading

from .ports import free_ports

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def content_length(head):
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].split(b":")[1]) if lengths else 0


class FaultProxy:
    """Forwards 127.0.0.1:`port` to `upstream` in one of these modes:

    pass     as it is
    refuse   nobody listens: connections are refused
    reset    connections are taken and reset
    stall    requests are taken and never answered
    cut      the connection ends after `cut_after` bytes of a response
    error    every request is answered with `status` and `body`
    some     one request in `every`, drawn at random, is answered so; each of the others waits for `delay` seconds first

    A change of mode ends all connections."""

    def __init__(self, upstream_port, host="127.0.0.1"):
        self.upstream_port, self.host = upstream_port, host
        (self.port,) = free_ports(1)
        self.mode, self.cut_after, self.status, self.body = "pass", 600, 503, SLOW_DOWN
        self.every, self.delay = 20, 0
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections, self._listener = set(), None

    def __enter__(self):
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_):
        self._run(self._silence())
        self._run(self._end_connections())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def set(self, mode, **settings):
        self._run(self._set(mode, settings))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _set(self, mode, settings):
        self.mode = mode
        for key, value in settings.items():
            setattr(self, key, value)
        if mode == "refuse":
            await self._silence()
        await self._end_connections()
        if mode != "refuse" and self._listener is None:
            await self._listen()

    async def _listen(self):
        self._listener = await asyncio.start_server(self._serve, self.host, self.port)

    async def _silence(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _end_connections(self):
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            await {
                "pass": self._forward, "cut": self._forward, "stall": self._swallow, "error": self._refuse_requests,
                "reset": self._reset, "some": self._forward,
            }[self.mode](reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _forward(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        try:
            budget = self.cut_after if self.mode == "cut" else None
            requests = self._pump_some(reader, upstream_writer, writer) if self.mode == "some" else self._pump(
                reader, upstream_writer, None)
            pumps = [
                asyncio.ensure_future(requests),
                asyncio.ensure_future(self._pump(upstream_reader, writer, budget)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            upstream_writer.transport.abort()

    async def _pump(self, reader, writer, budget):
        while data := await reader.read(65536):
            if budget is None:
                self.requests += data.count(b" HTTP/1.1\r\n")
            else:
                data, budget = data[:budget], budget - len(data)
            writer.write(data)
            await writer.drain()
            if budget is not None and budget <= 0:
                return

    async def _pump_some(self, reader, upstream, client):
        """Hands requests on, or answers them with an error; no client here sends one before the last is answered."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            left = content_length(head)
            if random.randrange(self.every) == 0:
                await reader.readexactly(left)
                self._write_error(client)
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            upstream.write(head)
            while left > 0 and (data := await reader.read(min(left, 65536))):
                left -= len(data)
                upstream.write(data)
                await upstream.drain()

    async def _swallow(self, reader, _writer):
        while data := await reader.read(65536):
            self.requests += data.count(b" HTTP/1.1\r\n")
        await asyncio.Event().wait()

    async def _refuse_requests(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await reader.readexactly(content_length(head))
            self._write_error(writer)
            await writer.drain()

    def _write_error(self, writer):
        head = f"HTTP/1.1 {self.status} Error\r\nContent-Type: application/xml\r\nContent-Length: {len(self.body)}\r\n\r\n"
        writer.write(head.encode() + self.body)

    async def _reset(self, _reader, writer):
        self.requests += 1
        # Linger 0 makes close send a reset.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

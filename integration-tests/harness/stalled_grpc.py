"""Calls of gRPC whose message never ends, by HTTP/2 frames made by hand: clients of gRPC end what they begin."""
import contextlib
import socket
import struct
import threading

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_HEADERS, END_STREAM, ACK = 4, 1, 1
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name, value):
    """A header field without compression."""
    name, value = name.encode(), value.encode()
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class StalledCalls:
    """One connection; `begin` starts a call and sends all of a message of so many zeros but the last byte."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
        self.room, self.first_room, self.stream = {0: 65_535}, 65_535, -1
        self.ended, self.changed, self.timeout = set(), threading.Condition(), timeout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        stream = self.socket.makefile("rb")
        try:
            while head := stream.read(9):
                length, kind, flags, number = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
                payload = stream.read(length)
                with self.changed:
                    if kind == WINDOW_UPDATE:
                        self.room[number] = self.room.get(number, self.first_room) + int.from_bytes(payload, "big")
                    elif kind == SETTINGS and not flags & ACK:
                        for at in range(0, length, 6):
                            key, value = struct.unpack(">HI", payload[at:at + 6])
                            if key == INITIAL_WINDOW_SIZE:
                                for known in self.room.keys() - {0}:
                                    self.room[known] += value - self.first_room
                                self.first_room = value
                        self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
                    elif kind == PING and not flags & ACK:
                        self.socket.sendall(frame(PING, ACK, 0, payload))
                    elif kind == RST_STREAM or kind == HEADERS and flags & END_STREAM:
                        # Refused or cut off.
                        self.ended.add(number)
                    self.changed.notify_all()
        except (OSError, ValueError):
            pass

    def _open(self, path, **more):
        self.stream += 2
        fields = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "content-type": "application/grpc",
            "te": "trailers", **more}
        with self.changed:
            self.socket.sendall(frame(HEADERS, END_HEADERS, self.stream, b"".join(literal(*field) for field in fields.items())))
        return self.stream

    def ask(self, path, message):
        """Calls with one whole message."""
        data = b"\0" + len(message).to_bytes(4, "big") + message
        stream = self._open(path)
        with self.changed:
            self.socket.sendall(frame(DATA, END_STREAM, stream, data))

    def send(self, path, message, encoding):
        """Calls with one whole message, compressed as named, and does not end the call. The call, or None if the server took no more."""
        stream = self._open(path, **{"grpc-encoding": encoding})
        data = b"\1" + len(message).to_bytes(4, "big") + message
        return stream if all(self._send(stream, data[at:at + 16_000]) for at in range(0, len(data), 16_000)) else None

    def end(self, stream):
        with self.changed:
            self.socket.sendall(frame(DATA, END_STREAM, stream, b""))

    def fill(self, path):
        """Sends empty messages on a call, and takes no answer, until the server takes no more for a moment; how many bytes."""
        stream, sent, piece = self._open(path), 0, bytes(16_000)
        while self._send(stream, piece, timeout=0.05) and stream not in self.ended:
            sent += len(piece)
        return sent

    def begin(self, path, size):
        """False if the server ended the call before all was sent, or took no more."""
        stream = self._open(path)
        self._send(stream, b"\0" + size.to_bytes(4, "big"))
        sent, piece = 0, bytes(16_000)
        while sent < size - 1:
            part = piece[:size - 1 - sent]
            if not self._send(stream, part):
                return False
            sent += len(part)
        return True

    def _send(self, stream, part, timeout=None):
        def is_free():
            room = min(self.room[0], self.room.setdefault(stream, self.first_room))
            return stream in self.ended or room >= len(part)

        with self.changed:
            if not self.changed.wait_for(is_free, self.timeout if timeout is None else timeout) or stream in self.ended:
                return False
            self.room[0] -= len(part)
            self.room[stream] -= len(part)
            self.socket.sendall(frame(DATA, 0, stream, part))
        return True

    def close(self):
        # The thread that reads keeps the socket open.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

"""A server with every port that clients of Jaeger and Zipkin know, and those clients."""
import os
import pathlib
import socket
import subprocess

from .paths import CACHE, INTEGRATION_TESTS
from .ports import free_ports
from .server import merge

CLIENTS = INTEGRATION_TESTS / "clients"
JAEGER_AGENT = CACHE / "bin" / "agent"
JAEGER_QUERY = CACHE / "bin" / "query"
GO_SENDER = CACHE / "bin" / "sender"

TCP = (
    "jaeger_grpc", "thrift_http", "zipkin", "query_http", "query_grpc", "storage_grpc", "admin", "sampling_http", "sampling_grpc",
)
UDP = ("compact", "binary", "legacy")


class Ports:
    """The ports by name, as attributes."""

    def __init__(self):
        for name, port in zip(TCP, free_ports(len(TCP)), strict=True):
            setattr(self, name, port)
        for name, port in zip(UDP, free_ports(len(UDP), socket.SOCK_DGRAM), strict=True):
            setattr(self, name, port)


def at(port):
    return {"endpoint": f"127.0.0.1:{port}"}


def config(ports):
    """Opens all of `ports`."""
    return {
        "distributor": {"receivers": {
            "jaeger": {"protocols": {
                "grpc": at(ports.jaeger_grpc), "thrift_http": at(ports.thrift_http), "thrift_compact": at(ports.compact),
                "thrift_binary": at(ports.binary), "thrift_compact_legacy": at(ports.legacy),
            }},
            "zipkin": at(ports.zipkin),
        }},
        "query_frontend": {"jaeger": {
            "http": at(ports.query_http), "grpc": at(ports.query_grpc), "storage": at(ports.storage_grpc), "admin": at(ports.admin),
        }},
        "sampling": {"http": at(ports.sampling_http), "grpc": at(ports.sampling_grpc)},
    }


def start(servers, name="tactus", extra=None, **kwargs):
    """A server with all those ports as `server.ports`; `extra` is laid over its configuration."""
    ports = Ports()
    server = servers.new(name, config=merge(config(ports), extra or {}), **kwargs)
    server.ports = ports
    return server.start()


def run(*command, timeout=60, env=None):
    """Runs a client to its end; returns what it printed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def python(script, *arguments):
    """A script of clients/python."""
    folder = CLIENTS / "python"
    return run(folder / ".venv" / "bin" / "python", "-W", "ignore", folder / script, *arguments)


def node(script, *arguments):
    """A script of clients/node."""
    return run("node", pathlib.Path(CLIENTS / "node" / script), *arguments)


def go(kind, port):
    """clients/go/sender."""
    return run(GO_SENDER, kind, "127.0.0.1", port)


def datagram(port, payload):
    """Sends one packet."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, ("127.0.0.1", port))

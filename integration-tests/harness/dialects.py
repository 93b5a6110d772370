"""A server with every port that clients of Jaeger and Zipkin know, and those clients."""
import os
import pathlib
import socket
import subprocess

from .paths import CACHE, INTEGRATION_TESTS
from .ports import free_ports
from .server import merge
from .tools import need

CLIENTS = INTEGRATION_TESTS / "clients"
JAEGER_AGENT = CACHE / "bin" / "agent"
JAEGER_QUERY = CACHE / "bin" / "query"
GO_SENDER = CACHE / "bin" / "sender"

TCP = (
    "jaeger_grpc", "thrift_http", "zipkin", "query_http", "query_grpc", "storage_grpc", "admin", "sampling_http", "sampling_grpc",
)
UDP = ("compact", "binary", "legacy")

# One span, "S": its ids, as each protocol writes it. The ids are replaced by fresh ones of the same length.
TRACE_LOW, SPAN = "0000000000000002", "0000000000000003"
COMPACT = bytes.fromhex(
    "82810009656d697442617463681c1c180373766300191c160416021606160018026f702502168080f2818389850616b817192c18097370616e2e6b696e6415"
    "0018067365727665720018056572726f7215043100000000")
BATCH = bytes.fromhex(
    "0c00010b000100000003737663000f00020c000000010a000100000000000000020a000200000000000000010a000300000000000000030a00040000000000"
    "0000000b0005000000026f70080007000000010a000800060a24181e40000a000900000000000005dc0f000a0c000000020b0001000000097370616e2e6b69"
    "6e64080002000000000b000300000006736572766572000b0001000000056572726f720800020000000202000501000000")
BINARY = bytes.fromhex("8001000400000009656d69744261746368000000000c0001") + BATCH + b"\0"
TRACE = "00000000000000010000000000000002"


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
    interpreter = need("the Python clients of Jaeger and Zipkin", folder / ".venv" / ".installed").replace(".installed", "bin/python")
    return run(interpreter, "-W", "ignore", folder / script, *arguments)


def node(script, *arguments):
    """A script of clients/node."""
    need("the Node clients of Jaeger and Zipkin", CLIENTS / "node" / "node_modules" / ".installed")
    return run(need("node"), pathlib.Path(CLIENTS / "node" / script), *arguments)


def go(kind, port):
    """clients/go/sender."""
    return run(need("the Go clients", GO_SENDER), kind, "127.0.0.1", port)


def datagram(port, payload):
    """Sends one packet."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, ("127.0.0.1", port))

"""Real memcached and redis servers as child processes."""
import contextlib
import datetime
import os
import signal
import socket
import socketserver
import ssl
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .ports import free_ports
from .program import Program
from .tools import need
from .waiting import eventually


class CacheServer(Program):
    """A server on a port of its own; it keeps nothing on disk."""

    kind = program = None

    def __init__(self, directory):
        super().__init__(directory / f"{self.kind}.log")
        self.directory = directory
        (self.port,) = free_ports(1)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts the program, again if it was killed: then it has nothing."""
        program = need(self.program)
        self.run([program, *self.arguments()], cwd=self.directory)
        self.until(lambda: self.stats() is not None, f"{self.kind} answers")
        return self

    def hang(self):
        """Connections are taken by the kernel, and nothing is ever answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        # It may hang.
        if self.is_running():
            self.kill()

    @contextlib.contextmanager
    def _connection(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            with connection.makefile("rwb") as stream:
                yield stream

    def overwrite(self, value_of):
        """Replaces every value by `value_of(key)`."""
        for key in self.keys():
            self.set(key, value_of(key))


class Memcached(CacheServer):
    kind = program = "memcached"

    def arguments(self):
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64", "-I", "8m", *user]

    def config(self, **extra):
        return {"memcached": {"addresses": f"dns+{self.address}", "timeout": "500ms", **extra}}

    def _lines(self, command, end):
        with self._connection() as stream:
            stream.write(command + b"\r\n")
            stream.flush()
            lines = []
            while (line := stream.readline().strip()) != end:
                assert line, "the connection ended"
                lines.append(line.decode())
            return lines

    def stats(self):
        values = dict(line.split(" ", 2)[1:] for line in self._lines(b"stats", b"END"))
        return {"hits": int(values["get_hits"]), "items": int(values["curr_items"])}

    def keys(self):
        lines = self._lines(b"lru_crawler metadump all", b"END")
        return [urllib.parse.unquote(line.split(" ")[0].removeprefix("key=")) for line in lines]

    def get(self, key):
        with self._connection() as stream:
            stream.write(f"get {key}\r\n".encode())
            stream.flush()
            length = int(stream.readline().split()[3])
            return stream.read(length)

    def set(self, key, value):
        with self._connection() as stream:
            stream.write(f"set {key} 0 0 {len(value)}\r\n".encode() + value + b"\r\n")
            stream.flush()
            assert stream.readline() == b"STORED\r\n"


class Redis(CacheServer):
    kind, program = "redis", "redis-server"

    def arguments(self):
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no",
                "--dir", str(self.directory)]

    def config(self, **extra):
        return {"redis": {"endpoint": self.address, "timeout": "500ms", "pool-size": 2, **extra}}

    def _call(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        with self._connection() as stream:
            stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            stream.flush()
            return self._answer(stream)

    def _answer(self, stream):
        line = stream.readline().strip()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return stream.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        if kind == b"*":
            return [self._answer(stream) for _ in range(int(rest))]
        assert kind in (b"+", b":"), line
        return rest

    def stats(self):
        lines = self._call("INFO", "stats").decode().splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        return {"hits": int(values["keyspace_hits"]), "items": int(self._call("DBSIZE"))}

    def keys(self):
        return [key.decode() for key in self._call("KEYS", "*")]

    def get(self, key):
        return self._call("GET", key)

    def set(self, key, value):
        self._call("SET", key, value)


class RedisCluster(Redis):
    """One node that has all slots; clients are told of it under two names."""

    def arguments(self):
        return [*super().arguments(), "--cluster-enabled", "yes", "--cluster-port", str(free_ports(1)[0])]

    def start(self):
        super().start()
        self._call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: b"cluster_state:ok" in self._call("CLUSTER", "INFO"), "the cluster is up")
        return self

    def config(self, **extra):
        return super().config(endpoint=f"{self.address},localhost:{self.port}", **extra)


class Sentinel(Redis):
    """Names a server as the primary `tactus`."""

    kind = "sentinel"

    def __init__(self, directory, primary):
        super().__init__(directory)
        self.primary = primary

    def arguments(self):
        path = self.directory / "sentinel.conf"
        path.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor tactus 127.0.0.1 {self.primary.port} 1\n")
        return [str(path), "--sentinel"]

    def stats(self):
        return self._call("PING")

    def config(self, **extra):
        return super().config(**{"master-name": "tactus", **extra})


class TlsProxy:
    """Takes TLS connections and hands them on to a cache."""

    def __init__(self, directory, cache):
        self.cache, self.path = cache, directory / "cache.pem"
        self._certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as client:
                    with socket.create_connection(("127.0.0.1", cache.port)) as upstream:
                        back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
                        back.start()
                        _copy(client, upstream)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        (self.port,) = free_ports(1)
        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _certificate(self):
        """A certificate for localhost that signs itself, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cache")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
        self.path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


KINDS = {server.kind: server for server in (Memcached, Redis)}

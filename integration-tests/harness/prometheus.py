"""A real Prometheus, and a receiver of remote write that answers as it is told."""
import collections
import http.server
import pathlib
import sys
import threading
import time

import requests
import yaml

from .paths import CACHE, CONFORMANCE
from .ports import free_ports
from .program import Program
from .tools import need

sys.path.insert(0, str(CONFORMANCE))
import generator as wire  # noqa: E402


class Prometheus(Program):
    """Debian's Prometheus with remote write, exemplars and native histograms."""

    title = "Prometheus"

    def __init__(self, directory, config=None, rules=None, port=None):
        self.binary = self.program()
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(self.directory / "log")
        self.port = port or free_ports(1)[0]
        config = {"storage": {"exemplars": {"max_exemplars": 10_000}}, **(config or {})}
        if rules:
            (self.directory / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": rules}]}))
            config["rule_files"] = ["rules.yml"]
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))

    @staticmethod
    def program():
        return need("prometheus")

    def command(self):
        return [f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/tsdb",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                "--enable-feature=exemplar-storage,native-histograms"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def write_url(self):
        return self.url + "/api/v1/write"

    def start(self):
        self.run([self.binary, *self.command()])
        self.until(lambda: requests.get(self.url + "/-/ready", timeout=2).status_code == 200, "Prometheus is ready")
        return self

    def get(self, path, **params):
        answer = requests.get(self.url + path, params=params, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, promql, at=None):
        """An instant query: [(labels, value)]."""
        data = self.get("/api/v1/query", query=promql, **({"time": at} if at else {}))
        return [(row["metric"], float(row["value"][1])) for row in data["result"]]

    def value(self, promql):
        """The only value of an instant query; None if there is none."""
        rows = self.query(promql)
        assert len(rows) <= 1, rows
        return rows[0][1] if rows else None


class SecondPrometheus(Prometheus):
    """The storage of a Prometheus that takes remote write 2.0 only, and answers queries: clients/prometheus."""

    @staticmethod
    def program():
        return need("prometheus with remote write 2.0", CACHE / "bin" / "prometheus")

    def command(self):
        return [f"127.0.0.1:{self.port}", str(self.directory / "tsdb")]


class Receiver:
    """Takes remote write. `answers`: statuses, or (status, headers), for the next requests; after them `otherwise`."""

    def __init__(self, otherwise=200, port=0):
        self.requests, self.answers, self.otherwise = [], [], otherwise
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver.take(dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def write_url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/write"

    def take(self, headers, body):
        with self.lock:
            answer = self.answers.pop(0) if self.answers else self.otherwise
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            self.requests.append({
                "status": status, "headers": {k.lower(): v for k, v in headers.items()}, "body": body, "time": time.time()})
        return status, more

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        """Requests that were answered with 2xx."""
        with self.lock:
            return [r for r in self.requests if r["status"] < 300]

    def samples(self):
        """Everything taken: frozen labels -> [(timestamp in ms, value)] in the order of arrival."""
        out = collections.defaultdict(list)
        for request in self.taken():
            for labels, samples, _, _ in wire.write_request(wire.unsnappy(request["body"]))[0]:
                out[tuple(labels)] += samples
        return out

    def latest(self, name, by=(), **labels):
        """Sums of the last values of all series of this name and these labels, by the values of `by`."""
        out = collections.defaultdict(float)
        for key, samples in self.samples().items():
            found = dict(key)
            if found["__name__"] == name and samples and all(found.get(k) == v for k, v in labels.items()):
                out[tuple(found.get(label, "") for label in by)] += samples[-1][1]
        return dict(out) if by else out.get((), 0.0)

    def names(self):
        return {dict(key)["__name__"] for key in self.samples()}

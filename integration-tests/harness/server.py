"""The real server as a child process."""
import copy
import os
import pathlib
import time

import requests
import yaml

from . import answers
from .paths import tactus_binary
from .ports import free_ports
from .program import Program


def merge(base, extra):
    """`extra` laid over `base`, maps into maps; neither is changed."""
    out = copy.deepcopy(base)
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


class Tactus(Program):
    """One server: a configuration, a data directory, and a process that comes and goes.

    `config` is laid over a configuration that binds loopback, keeps its data below `directory`, has no rate
    limit and cuts spans to segments fast."""

    title = "the server"

    def __init__(self, directory, config=None, env=None, arguments=()):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(self.directory / "tactus.log")
        self.http_port, self.grpc_port, self.otlp_http_port, self.otlp_grpc_port = free_ports(4)
        self.config = merge(self._defaults(), config or {})
        self.env = {**os.environ, **(env or {})}
        self.arguments = list(arguments)
        self.session = requests.Session()

    def _defaults(self):
        return {
            "stream_over_http_enabled": True,
            "server": {
                "http_listen_address": "127.0.0.1", "http_listen_port": self.http_port,
                "grpc_listen_address": "127.0.0.1", "grpc_listen_port": self.grpc_port,
            },
            "distributor": {"receivers": {"otlp": {"protocols": {
                "http": {"endpoint": f"127.0.0.1:{self.otlp_http_port}"},
                "grpc": {"endpoint": f"127.0.0.1:{self.otlp_grpc_port}"},
            }}}},
            "ingester": {"trace_idle_period": "2s", "flush_check_period": "1s"},
            "query_frontend": {
                "search": {"query_backend_after": "0s", "query_ingesters_until": "24h"},
                # Their usual ports would be wanted by every server; harness/dialects.py opens them.
                "jaeger": {"http": {"endpoint": ""}, "grpc": {"endpoint": ""}, "storage": {"endpoint": ""}},
                "zipkin": {"endpoint": ""},
            },
            "sampling": {"http": {"endpoint": ""}, "grpc": {"endpoint": ""}},
            "overrides": {"defaults": {"ingestion": {
                "rate_limit_bytes": 1_000_000_000, "burst_size_bytes": 1_000_000_000, "max_traces_per_user": 0,
            }}},
            "storage": {"trace": {
                "backend": "local",
                "local": {"path": str(self.blocks)},
                "wal": {"path": str(self.wal), "ingestion_time_range_slack": "2h"},
                "blocklist_poll": "1s",
            }},
            "usage_report": {"reporting_enabled": False},
        }

    @property
    def blocks(self):
        return self.directory / "blocks"

    @property
    def wal(self):
        return self.directory / "wal"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def otlp_url(self):
        return f"http://127.0.0.1:{self.otlp_http_port}"

    # --- the process ---------------------------------------------------------------------------------------------

    def command(self):
        path = self.directory / "tactus.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [tactus_binary(), f"-config.file={path}", *self.arguments]

    def spawn(self):
        """Starts the process without waiting for anything. Its output is added to the log."""
        self.run(self.command(), env=self.env, cwd=self.directory)
        return self

    def start(self, timeout=60):
        self.spawn()
        self.until(lambda: self.session.get(self.url + "/ready", timeout=5).status_code == 200, f"{self.url}/ready answers 200", timeout)
        return self

    def stop(self, timeout=60):
        code = super().stop(timeout)
        self.session.close()
        return code

    def kill(self):
        super().kill()
        self.session.close()

    def restart(self):
        """SIGTERM and a start on the same data and ports."""
        assert self.stop() == 0, self.logs()[-4000:]
        return self.start()

    # --- what can be seen from outside ---------------------------------------------------------------------------

    def _status(self, key):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) << 10
        raise KeyError(key)

    def threads(self):
        return len(list(pathlib.Path(f"/proc/{self.pid}/task").iterdir()))

    def resident_bytes(self):
        return self._status("VmRSS")

    def peak_resident_bytes(self):
        return self._status("VmHWM")

    def forget_peak(self):
        """From now on the peak is that of what comes."""
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def get(self, path, accept="application/json", timeout=60, headers=None, **params):
        headers = {"Accept": accept, **(headers or {})}
        return self.session.get(self.url + path, params=params, headers=headers, timeout=timeout)

    def metrics(self):
        """Samples of /metrics: name with labels -> value."""
        out = {}
        for line in self.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def metric(self, name):
        """The sum over all label sets of one metric; 0 if there is none."""
        return sum(v for k, v in self.metrics().items() if k == name or k.startswith(name + "{"))

    def push(self, request, **kwargs):
        """An export over HTTP as protobuf; `request` is a message or bytes. Returns the response."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        headers = {"Content-Type": "application/x-protobuf", **kwargs.pop("headers", {})}
        kwargs.setdefault("timeout", 60)
        return self.session.post(self.otlp_url + "/v1/traces", data=body, headers=headers, **kwargs)

    def must_push(self, request):
        response = self.push(request)
        assert response.status_code == 200, (response.status_code, response.text)
        assert response.content in (b"\x0a\x00", b""), response.content

    def flush(self):
        answer = self.get("/flush")
        assert answer.status_code == 204, (answer.status_code, answer.text)

    # --- answers -------------------------------------------------------------------------------------------------

    def trace(self, trace_id):
        """Spans of a trace as (span id, span) in hex, or None if it is not found. Repeated spans are kept."""
        response = self.get(f"/api/v2/traces/{trace_id}")
        assert response.status_code == 200, (response.status_code, response.text)
        return answers.spans(response.json().get("trace", {})) or None

    def search(self, query, limit=1000, spss=100, **params):
        """Traces of a search: trace id in hex (32 digits) -> number of matched spans."""
        now = int(time.time())
        params = {"start": now - 7200, "end": now + 3600, **params}
        response = self.get("/api/search", q=query, limit=limit, spss=spss, **params)
        assert response.status_code == 200, (query, response.status_code, response.text)
        found = {}
        for trace in response.json()["traces"]:
            trace_id = trace["traceID"].rjust(32, "0")
            assert trace_id not in found, f"{trace_id} stands twice in the answer"
            found[trace_id] = sum(s["matched"] for s in trace.get("spanSets") or [])
        return found

    def block_directories(self):
        """Directories of the blocks in local storage that are complete."""
        return sorted(meta.parent for meta in self.blocks.glob("*/*/meta.json"))

    def segments(self):
        """Finished segment files; what is still being written is in a directory that begins with a dot."""
        return sorted(
            path for path in (self.wal / "segments").glob("*/*.seg") if not path.parent.name.startswith("."))

"""`tactusctl check --continuous` as a child process."""
import os
import pathlib
import signal
import subprocess

import requests

from .paths import tactus_binary
from .ports import free_ports
from .server import end_with_parent
from .waiting import GiveUp, eventually


def tactusctl():
    """TACTUSCTL_BIN, else what lies beside the server."""
    given = os.environ.get("TACTUSCTL_BIN")
    path = pathlib.Path(given) if given else pathlib.Path(tactus_binary()).with_name("tactusctl")
    assert path.is_file(), f"{path}: build it with `cargo build -p tactusctl` or name it with TACTUSCTL_BIN"
    return str(path)


def environment():
    """Without addresses that somebody set for their own use."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TACTUS_") and not k.lower().endswith("_proxy")}


class Checker:
    """One checker, on the same port and with the same flags after each start."""

    def __init__(self, directory, push, query, *flags, interval="200ms", ages="1s,3s", retention="10m", late="500ms"):
        pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
        self.log_path = pathlib.Path(directory) / "checker.log"
        (self.port,) = free_ports(1)
        self.address, self.process = f"127.0.0.1:{self.port}", None
        self.flags = [
            "--push-url", push, "--query-url", query, "--listen", self.address, "--interval", interval, "--check-after", ages,
            "--retention", retention, "--late-after", late, *map(str, flags)]

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [tactusctl(), "check", "--continuous", *self.flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(), preexec_fn=end_with_parent)
        eventually(self._ready_or_dead, "the checker is ready")
        return self

    def _ready_or_dead(self):
        if self.process.poll() is not None:
            raise GiveUp(f"the checker exited with {self.process.returncode}:\n{self.logs()[-3000:]}")
        return requests.get(f"http://{self.address}/ready", timeout=5).status_code == 200

    def stop(self, timeout=15):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        assert "panicked" not in self.logs(), self.logs()[-3000:]

    def logs(self):
        return self.log_path.read_text(errors="replace")

    def metrics(self):
        """Samples: name with labels -> value."""
        lines = requests.get(f"http://{self.address}/metrics", timeout=5).text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def sum(self, name, *parts):
        """Over the series of a metric whose labels have all these parts."""
        return sum(
            value for key, value in self.metrics().items()
            if key.split("{")[0] == name and all(part in key for part in parts))

    def errors(self):
        """error -> count, of those that happened."""
        prefix = 'tempo_vulture_trace_error_total{error="'
        return {key[len(prefix):-2]: value for key, value in self.metrics().items() if key.startswith(prefix) and value}

    def correct(self, age):
        return self.sum("tactus_check_results_total", f'age="{age}"', 'result="correct"')

    def await_correct(self, age, count, timeout=60):
        """So many more right answers about traces of an age."""
        before = self.correct(age)
        eventually(lambda: self.correct(age) >= before + count, f"{count} right answers about traces of {age}", timeout, interval=0.1)

"""`tactusctl check --continuous` as a child process."""
import os
import pathlib

import requests

from .paths import tactus_binary
from .ports import free_ports
from .program import Program
from .waiting import eventually


def tactusctl():
    """TACTUSCTL_BIN, else what lies beside the server."""
    given = os.environ.get("TACTUSCTL_BIN")
    path = pathlib.Path(given) if given else pathlib.Path(tactus_binary()).with_name("tactusctl")
    assert path.is_file(), f"{path}: build it with `cargo build -p tactusctl` or name it with TACTUSCTL_BIN"
    return str(path)


def environment():
    """Without addresses that somebody set for their own use."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TACTUS_") and not k.lower().endswith("_proxy")}


class Checker(Program):
    """One checker, on the same port and with the same flags after each start."""

    title = "the checker"

    def __init__(self, directory, push, query, *flags, interval="200ms", ages="1s,3s", retention="10m", late="500ms"):
        pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
        super().__init__(pathlib.Path(directory) / "checker.log")
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self.flags = [
            "--push-url", push, "--query-url", query, "--listen", self.address, "--interval", interval, "--check-after", ages,
            "--retention", retention, "--late-after", late, *map(str, flags)]

    def start(self):
        self.run([tactusctl(), "check", "--continuous", *self.flags], env=environment())
        self.until(lambda: requests.get(f"http://{self.address}/ready", timeout=5).status_code == 200, "the checker is ready")
        return self

    def stop(self, timeout=15):
        return super().stop(timeout)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.is_running():
            self.kill()
        assert "panicked" not in self.logs(), self.logs()[-3000:]

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

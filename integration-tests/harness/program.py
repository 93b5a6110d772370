"""Programs that tests run beside themselves."""
import contextlib
import ctypes
import pathlib
import signal
import subprocess

from .waiting import GiveUp, eventually

PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Run in a child before its program: it is killed when the test process dies, however that comes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A program that comes and goes, and adds its output to a log."""

    # What failures call it.
    title = "the program"

    def __init__(self, log_path):
        self.log_path, self.process = pathlib.Path(log_path), None

    def run(self, command, **options):
        """Starts it without waiting for anything; `options` are those of Popen."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **{"preexec_fn": end_with_parent, **options})

    def until(self, condition, what, timeout=60):
        """The value of a condition once it is true, which it only gets while the program runs."""
        def holds():
            if self.process.poll() is not None:
                raise GiveUp(f"{self.title} exited with {self.process.returncode}:\n{self.logs()[-4000:]}")
            return condition()

        return eventually(holds, what, timeout)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=60):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """SIGKILL: the process has no chance to do anything."""
        self.process.kill()
        self.process.wait(30)

    def close(self):
        """Ends the process whatever state it is in; the end of every test."""
        if self.is_running():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(30)
                return
            self.kill()

    def logs(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

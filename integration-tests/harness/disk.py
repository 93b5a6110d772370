"""A small file system, and what fills it."""
import contextlib
import os
import subprocess


class SmallDisk:
    """A file system of 24 MiB at `path`. `refused` says why there is none: mounting needs root."""

    def __init__(self, path):
        self.path, self.refused = path, None

    def __enter__(self):
        self.path.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(self.path)], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.refused = f"mounting a small disk needs root: {mounted.stderr.strip()}"
        return self

    def __exit__(self, *_):
        if not self.refused:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


class Ballast:
    """A file that takes up the rest of a disk."""

    def __init__(self, disk):
        self.path = disk / "ballast"

    def fill(self, leave=0):
        with open(self.path, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        if leave:
            os.truncate(self.path, max(0, self.path.stat().st_size - leave))

    def drop(self):
        self.path.unlink()

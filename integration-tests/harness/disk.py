"""A small file system, and what fills it."""
import contextlib
import os
import subprocess

from harness import otlp


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


class HangingDisk:
    """A file system at `path` that takes no writes between `hang` and `answer`: nothing that writes returns meanwhile.
    `refused` says why there is none."""

    def __init__(self, directory):
        self.image, self.path, self.refused = directory / "disk.img", directory / "hanging-disk", None

    def __enter__(self):
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(64 << 20)
        for command in (["mkfs.ext4", "-q", str(self.image)],
                        ["mount", "-o", "loop", str(self.image), str(self.path)]):
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except FileNotFoundError:
                self.refused = f"a disk that hangs needs {command[0]}"
                return self
            if done.returncode != 0:
                self.refused = f"a disk that hangs needs root and loop devices: {done.stderr.strip()}"
                return self
        return self

    def hang(self):
        subprocess.run(["fsfreeze", "-f", str(self.path)], check=True)

    def answer(self):
        subprocess.run(["fsfreeze", "-u", str(self.path)], check=True)

    def __exit__(self, *_):
        if not self.refused:
            # Fails if it does not hang.
            subprocess.run(["fsfreeze", "-u", str(self.path)], capture_output=True)
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


class FailingDisk:
    """A file system of 64 MiB at `path`, of which files can be made unreadable. `refused` says why there is none: it needs
    root, loop devices and the tools of ext4."""

    def __init__(self, directory):
        self.image, self.path = directory / "disk.img", directory / "disk"
        self.device = self.refused = None

    def __enter__(self):
        self.path.mkdir()
        self.image.touch()
        os.truncate(self.image, 64 << 20)
        try:
            # Without a journal nothing is written behind the place where it is cut off later.
            self._run("mkfs.ext4", "-q", "-O", "^has_journal", "-b", "4096", str(self.image))
            self._run("filefrag", str(self.image))
            self.device = self._run("losetup", "--find", "--show", str(self.image)).strip()
            self._run("mount", self.device, str(self.path))
        except (OSError, subprocess.CalledProcessError) as error:
            self.refused = f"a disk that fails needs root, loop devices and e2fsprogs: {getattr(error, 'stderr', '') or error}"
        return self

    def __exit__(self, *_):
        if os.path.ismount(self.path):
            self._run("umount", "-l", str(self.path))
        if self.device:
            self._run("losetup", "--detach", self.device)

    def fail_from_the_middle_of(self, file):
        """From the middle of a file on the disk cannot be read: reading it is an error of input and output."""
        os.sync()
        extents = self._run("filefrag", "-v", str(file)).splitlines()
        # "   0:        0..      99:        550..       649:    100:  last,eof"
        (extent,) = [line.split(":") for line in extents if line.strip()[:1].isdigit()]
        first, last = (int(block) for block in extent[2].split(".."))
        assert last > first, "too small to be half readable"
        os.truncate(self.image, (first + last + 1) // 2 * 4096)
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @staticmethod
    def _run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def push_until_refused(server, paddings=1, limit=400):
    """Pushes traces until one is refused, each span with so many attributes of 1800 bytes; (ids of the accepted, response
    of the refused)."""
    accepted = []
    for _ in range(limit):
        attributes = {f"padding {number}": os.urandom(900).hex() for number in range(paddings)}
        spans = otlp.trace(4, attributes=attributes)
        response = server.push(otlp.export(*spans))
        if response.status_code != 200:
            return accepted, response
        accepted.append(spans[0].trace_id.hex())
    raise AssertionError("never refused")

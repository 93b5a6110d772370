"""A disk that fails or delays what a server asks it for, and a file system that becomes read-only under it."""
import os
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_on_disk(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    const char *disk = getenv("DISK_FAULTS_BELOW");
    return length > 0 && strncmp(path, disk, strlen(disk)) == 0;
}

/* Waits as long as the file says; the error that it names. */
static int fault(int fd, const char *name) {
    long millis = 0;
    int error = 0;
    char path[4096];
    if (!is_on_disk(fd)) return 0;
    snprintf(path, sizeof path, "%s/%s", getenv("DISK_FAULTS"), name);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%ld %d", &millis, &error) != 2) error = 0;
    fclose(file);
    if (millis) usleep(millis * 1000);
    return error;
}

#define FAULTY(type, name, number, parameters, ...)          \
    type name parameters {                                   \
        int error = fault(fd, #name);                        \
        if (error) { errno = error; return -1; }             \
        return syscall(number, __VA_ARGS__);                 \
    }

FAULTY(int, fsync, SYS_fsync, (int fd), fd)
FAULTY(int, fdatasync, SYS_fdatasync, (int fd), fd)
FAULTY(ssize_t, write, SYS_write, (int fd, const void *bytes, size_t count), fd, bytes, count)
FAULTY(ssize_t, pread64, SYS_pread64, (int fd, void *bytes, size_t count, off64_t place), fd, bytes, count, place)
"""

SYNCS, WRITES, READS = ("fsync", "fdatasync"), ("write",), ("pread64",)


class FaultyDisk:
    """Files below `path`, of a server that is started with `env`. The log's own writes go past this, its syncs do not."""

    def __init__(self, directory):
        self.path, self.faults = directory / "faulty-disk", directory / "faults"
        self.path.mkdir()
        self.faults.mkdir()
        source, library = directory / "faults.c", directory / "faults.so"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
        self.env = {"LD_PRELOAD": str(library), "DISK_FAULTS": str(self.faults), "DISK_FAULTS_BELOW": str(self.path)}

    def set(self, calls, millis=0, error=0):
        """From now on these calls take so long, and fail in this way."""
        for call in calls:
            staged = self.faults / f"{call}.new"
            staged.write_text(f"{millis} {error}\n")
            staged.replace(self.faults / call)

    def mend(self):
        for file in self.faults.iterdir():
            file.unlink()


class BreakingFileSystem:
    """A file system of 64 MiB at `path` that can find itself damaged: the kernel makes it read-only then, as errors of a disk
    do. `refused` says why there is none."""

    def __init__(self, directory):
        self.image, self.path = directory / "breaking.img", directory / "breaking-disk"
        self.device = self.refused = None

    def __enter__(self):
        self.path.mkdir()
        self.image.touch()
        os.truncate(self.image, 64 << 20)
        try:
            self._run("mkfs.ext4", "-q", str(self.image))
            self._mount()
            if not self._trigger().exists():
                self.refused = "the kernel's ext4 cannot be told to find itself damaged"
        except (OSError, subprocess.CalledProcessError) as error:
            self.refused = f"a file system that breaks needs root, loop devices and e2fsprogs: {getattr(error, 'stderr', '') or error}"
        return self

    def __exit__(self, *_):
        self._unmount()

    def break_down(self):
        self._trigger().write_text("1")

    def mend(self):
        """As an operator does once nobody has its files open: checks it and mounts it again."""
        self._unmount()
        done = subprocess.run(["e2fsck", "-f", "-y", str(self.image)], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        self._mount()

    def _mount(self):
        self.device = self._run("losetup", "--find", "--show", str(self.image)).strip()
        self._run("mount", "-o", "errors=remount-ro", self.device, str(self.path))

    def _unmount(self):
        if os.path.ismount(self.path):
            self._run("umount", "-l", str(self.path))
        if self.device:
            self._run("losetup", "--detach", self.device)
            self.device = None

    def _trigger(self):
        return type(self.path)("/sys/fs/ext4") / os.path.basename(self.device) / "trigger_fs_error"

    @staticmethod
    def _run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

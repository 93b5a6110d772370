"""Clocks that jump, for one process."""
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    long result = syscall(SYS_clock_gettime, clock, time), seconds = 0;
    int monotonic = getenv("CLOCK_OFFSET_MONOTONIC") && clock == CLOCK_MONOTONIC;
    FILE *file = result == 0 && (clock == CLOCK_REALTIME || monotonic) ? fopen(getenv("CLOCK_OFFSET_FILE"), "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &seconds) == 1) time->tv_sec += seconds;
        fclose(file);
    }
    return (int)result;
}
"""


class JumpingClock:
    """Start a server with `env`; `jump` sets its clock ahead of the machine's. The monotonic clock stays as it is, unless
    `monotonic`: then time itself goes by, in steps of less than a minute, since larger ones of the wall clock alone are ignored."""

    def __init__(self, directory, monotonic=False):
        self.offset = directory / "clock-offset"
        source, library = directory / "clock.c", directory / "clock.so"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(self.offset)}
        if monotonic:
            self.env["CLOCK_OFFSET_MONOTONIC"] = "1"
        self.jump(0)

    def jump(self, seconds):
        self.seconds = seconds
        staged = self.offset.with_suffix(".new")
        staged.write_text(str(seconds))
        staged.replace(self.offset)

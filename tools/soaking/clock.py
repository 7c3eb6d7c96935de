"""A wall clock that jumps, for programs that are started with it: as when a host has slept, or NTP corrects it."""

import struct
import subprocess
from mmap import mmap
from pathlib import Path

STEPPED = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const long *step;

__attribute__((constructor)) static void find_step(void)
{
    int file = open(getenv("CLOCK_STEP"), O_RDONLY);
    step = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += *step;
    return failed;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
"""
"""A library that adds the number of seconds in a file to the wall clock of the process that it is loaded into."""


class Clock:
    """environ: what a program must be started with to go by it."""

    def __init__(self, folder: Path, compiler: str) -> None:
        """folder: for its files. compiler: of C."""
        source, library, step = (folder / name for name in ("step.c", "step.so", "step"))
        source.write_text(STEPPED)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)  # noqa: S603
        step.write_bytes(bytes(8))
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(step)}
        with step.open("r+b") as file:
            self._step = mmap(file.fileno(), 8)

    def goes_to(self, seconds: int) -> None:
        """So many after the system's, or before."""
        self._step[:] = struct.pack("l", seconds)

"""What a process has taken so far, by the kernel's account."""

import re
import time


def cpu_s(pid):
    """CPU seconds of a process, all its threads."""
    # The clock of another process, as clock_getcpuclockid(3) makes its number on Linux.
    return time.clock_gettime((~pid << 3) | 2)


def peak_mb(pid="self"):
    """Its greatest resident size. What the kernel tells the parent at its end is at least the parent's own."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1024

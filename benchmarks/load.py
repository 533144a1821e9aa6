"""What else the machine did while a row ran, and what machine it is."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """CPU seconds of the whole machine since its start, idle and waiting for disks left out."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _ours() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(one) for one in who]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Load:
    """The cores that others kept busy, from its making to `report`.

    The kernel's own threads (writeback, journal) count as others: whose they are isn't said.
    """

    def __init__(self) -> None:
        self.before = os.getloadavg()[0]
        self._busy, self._ours, self._start = _busy(), _ours(), time.monotonic()

    def report(self) -> dict[str, float]:
        """Return the figures; all processes of ours must have ended, or they count as others."""
        span = time.monotonic() - self._start
        others = _busy() - self._busy - (_ours() - self._ours)
        return {
            "before": round(self.before, 2),
            "after": round(os.getloadavg()[0], 2),
            "others_cores": round(max(0.0, others / span), 2),
            "seconds": round(span, 1),
        }


def describe_machine(place: Path) -> dict[str, str]:
    """Say what was measured on; *place* is where the data lies."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file_system": file_system(place),
        "python": platform.python_version(),
    }


def file_system(place: Path) -> str:
    """Return the type of the file system *place* lies on, from the mounts."""
    best, kind = "", "unknown"
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, mount, type_, *_ = line.split()
            inside = mount == "/" or f"{place.resolve()}/".startswith(f"{mount}/")
            if inside and len(mount) >= len(best):
                best, kind = mount, type_
    return kind

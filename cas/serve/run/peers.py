"""Who is at the other end of a connection on loopback: a process, and whose it is.

Linux says so in /proc; elsewhere, and where it is not seen, the answer is nobody, and what is
asked for is noted for the run as a whole.
"""

from __future__ import annotations

import os
import time

from cas.project.ledger import NOBODY, identity, parent

__all__ = ["Peers"]

KNOWN_FOR = 5.0  # seconds that a connection's answer is kept after it was last wanted
DEEPEST = 100  # processes above one


class Peers:
    """The processes that ask a server of ours at *port*; safe to use from one thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[int, tuple[str, bool, float]] = {}
        self._recent: dict[int, None] = {}

    def who(self, port: int) -> tuple[str, bool]:
        """Return (the process that asks from *port*, NOBODY if unknown; whether it is ours).

        Ours is what runs as this user or as root, or was started by this process.
        """
        now = time.monotonic()
        found = self._known.get(port)
        if found is None or now - found[2] > KNOWN_FOR:
            found = *self._look(port), now
            self._known = {p: k for p, k in self._known.items() if now - k[2] <= KNOWN_FOR}
        self._known[port] = found[0], found[1], now
        return found[:2]

    def _look(self, port: int) -> tuple[str, bool]:
        row = self._row(port)
        if row is None:
            return NOBODY, True
        uid, inode = row
        process = self._holder(inode)
        if process:
            self._recent.pop(process, None)
            self._recent[process] = None
        ours = uid in (0, os.geteuid()) or _is_below(process)
        return (identity(process) if process else NOBODY), ours

    def _row(self, port: int) -> tuple[int, int] | None:
        """Return (uid, inode) of the peer's socket."""
        loopback = "0100007F"
        wanted = f"{loopback}:{port:04X} {loopback}:{self._port:04X} "
        try:
            with open("/proc/net/tcp", encoding="ascii") as file:
                for line in file:
                    if wanted in line:
                        fields = line.split()
                        return int(fields[7]), int(fields[9])
        except (OSError, ValueError, IndexError):
            pass
        return None

    def _holder(self, inode: int) -> int:
        """Return the process that has the socket open, those that asked before first."""
        if not inode:
            return 0
        target = f"socket:[{inode}]"
        try:
            others = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        except OSError:
            return 0
        for process in dict.fromkeys([*reversed(self._recent), *sorted(others, reverse=True)]):
            try:
                with os.scandir(f"/proc/{process}/fd") as entries:
                    if any(os.readlink(entry.path) == target for entry in entries):
                        return process
            except OSError:
                continue
        return 0


def _is_below(process: int) -> bool:
    for _ in range(DEEPEST):
        if process == os.getpid():
            return True
        if process <= 1:
            return False
        process = parent(process)
    return False

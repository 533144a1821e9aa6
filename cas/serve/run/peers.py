"""Who is at the other end of a connection on loopback: a process, and whose it is.

Linux says so in /proc; elsewhere, and where it is not seen, the answer is nobody, and what is
asked for is noted for the run as a whole.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from cas.project.ledger import NOBODY, identity, parent

if TYPE_CHECKING:
    from cas.serve.answers import Scope

__all__ = ["Peers"]

KNOWN_FOR = 5.0  # seconds that a connection's answer is kept after it was last wanted
DEEPEST = 100  # processes above one
LOOKS = 3  # a table that changes while it is read may leave a row out
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Peers:
    """The processes that ask a server of ours at *port*; safe to use from one thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[tuple[object, str, int], tuple[str, bool, float]] = {}
        self._recent: dict[int, None] = {}

    def who(self, scope: Scope) -> tuple[str, bool]:
        """Return (the process that sent a request, NOBODY if unknown; whether it is ours).

        Ours is what runs as this user or as root, or was started by this process.
        """
        now = time.monotonic()
        host, port = scope.get("client") or ("", 0)
        key = scope.get("state", {}).get("connection"), host, port
        found = self._known.get(key)
        if found is None or now - found[2] > KNOWN_FOR:
            found = *self._look(host, port), now
            self._known = {p: k for p, k in self._known.items() if now - k[2] <= KNOWN_FOR}
        self._known[key] = found[0], found[1], now
        return found[:2]

    def _look(self, host: str, port: int) -> tuple[str, bool]:
        row = next(filter(None, (self._row(host, port) for _ in range(LOOKS))), None)
        if row is None:
            return NOBODY, not os.path.exists(TABLES[0])
        uid, inode = row
        if not inode:  # it went away, and whose it was is not known any more
            return NOBODY, False
        process = self._holder(inode)
        if process:
            self._recent.pop(process, None)
            self._recent[process] = None
        ours = uid in (0, os.geteuid()) or _is_below(process)
        return (identity(process) if process else NOBODY), ours

    def _row(self, host: str, port: int) -> tuple[int, int] | None:
        """Return (uid, inode) of the peer's socket, which may be one of IPv6 that speaks IPv4."""
        for table, mapped in zip(TABLES, (b"", bytes(10) + b"\xff\xff"), strict=True):
            try:
                here = _written(mapped + socket.inet_aton(host)), port
                there = _written(mapped + socket.inet_aton("127.0.0.1")), self._port
                wanted = "{}:{:04X} {}:{:04X} ".format(*here, *there)
                with open(table, encoding="ascii") as file:
                    for line in file:
                        if wanted in line:
                            fields = line.split()
                            return int(fields[7]), int(fields[9])
            except (OSError, ValueError, IndexError):
                continue
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


def _written(address: bytes) -> str:
    """Return an address as the kernel's tables have it: in words of this machine's order."""
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", address))


def _is_below(process: int) -> bool:
    for _ in range(DEEPEST):
        if process == os.getpid():
            return True
        if process <= 1:
            return False
        process = parent(process)
    return False

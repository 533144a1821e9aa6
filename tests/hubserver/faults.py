"""Faults: what a Hub, or the network before it, does wrong.

A fault is asked for with `Hub.fault` and strikes the requests that it matches, *times*
times. Each has a stage, and an answer meets at most one fault of a stage, in the order in
which they were asked for:

========  ====================================================================
before    status, drop                          no true answer is given
headers   wrong_etag, evil_etag, wrong_size     of a file's metadata
range     no_range                              a 200 where a 206 was asked for
body      cut, reset, stall, trickle, corrupt, short, long, wrong_length,
          endless, body                         of a GET or POST answered 200 or 206
after     moved_branch                          the repository moves on once answered
========  ====================================================================
"""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STAGES = {
    "status": "before",
    "drop": "before",
    "wrong_etag": "headers",
    "evil_etag": "headers",
    "wrong_size": "headers",
    "no_range": "range",
    "cut": "body",
    "reset": "body",
    "stall": "body",
    "trickle": "body",
    "corrupt": "body",
    "short": "body",
    "long": "body",
    "wrong_length": "body",
    "endless": "body",
    "body": "body",
    "moved_branch": "after",
}

ON = ("api", "resolve", "cdn", "xet-plan", "xet")


@dataclass(kw_only=True)
class Fault:
    """One fault; see `Hub.fault` for the meaning of its parameters."""

    kind: str
    path: str
    on: str | None
    repo: str | None
    method: str | None
    times: int | None
    at: float
    seconds: float
    rate: int
    extra: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    value: str
    files: Mapping[str, bytes]
    hits: int = 0
    """How often it struck."""

    def point(self, length: int) -> int:
        """Return the byte of a body of *length* bytes at which it strikes.

        `at` is a fraction if it is a float, a number of bytes if it is an int.
        """
        at = int(length * self.at) if isinstance(self.at, float) else self.at
        return max(0, min(length, at))


@dataclass(frozen=True)
class Hit:
    """One strike, as `Hub.faults_hit` lists them."""

    kind: str
    on: str
    method: str
    path: str


@dataclass
class Faults:
    """All faults of one Hub; every thread of the server takes from it."""

    _faults: list[Fault] = field(default_factory=list)
    _hits: list[Hit] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Arm *fault*."""
        if fault.kind not in STAGES:
            raise ValueError(f"no fault '{fault.kind}': one of {', '.join(STAGES)}")
        if fault.on not in (None, *ON):
            raise ValueError(f"no request class '{fault.on}': one of {', '.join(ON)}")
        with self._lock:
            self._faults.append(fault)

    def take(self, stage: str, on: str, repo: str | None, method: str, path: str) -> Fault | None:
        """Return the first fault that strikes here, and count it."""
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if (
                    STAGES[fault.kind] == stage
                    and (fault.times is None or fault.hits < fault.times)
                    and fault.on in (None, on)
                    and fault.repo in (None, repo)
                    and fault.method in (None, method)
                    and fnmatch.fnmatchcase(path, fault.path)
                ):
                    fault.hits += 1
                    self._hits.append(Hit(fault.kind, on, method, path))
                    return fault
        return None

    @property
    def hits(self) -> list[Hit]:
        """Every strike so far, oldest first."""
        with self._lock:
            return list(self._hits)

    def clear(self) -> None:
        """Disarm all faults and forget their strikes."""
        with self._lock:
            self._faults.clear()
            self._hits.clear()

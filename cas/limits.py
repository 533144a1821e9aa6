"""Limits: how long a server is waited for, and when bytes that come count as stalled."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cas.errors import SourceError

__all__ = ["Limits", "Pace", "retry_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait for what. Times are in seconds."""

    connect: float = 10.0
    silence: float = 30.0
    """No byte for this long: stalled."""
    slow_rate: float = 1024.0
    """Fewer bytes a second than this, over ``slow_time``: stalled."""
    slow_time: float = 60.0
    tries: int = 5
    """Tries of one thing that make no progress."""
    first_tries: int = 2
    """The same, while nobody has answered yet: who is offline wants to know."""
    patience: float = 60.0
    """Retries of one thing that make no progress, their waits included."""
    quota: float = 360.0
    """Waiting as long as a server asks, for one thing; the Hub's windows are five minutes."""
    backoff: float = 0.2
    """The first wait between tries; each next one is twice as long, up to ``backoff_most``."""
    backoff_most: float = 8.0


class Pace:
    """Tells a body that trickles from one that flows."""

    def __init__(self, limits: Limits, what: object) -> None:
        self._limits, self._what = limits, what
        self._since, self._bytes = time.monotonic(), 0

    def took(self, count: int) -> None:
        """Count bytes that came; raise SourceError if they come too slowly."""
        self._bytes += count
        span = time.monotonic() - self._since
        if span < self._limits.slow_time:
            return
        if self._bytes < span * self._limits.slow_rate:
            raise SourceError(f"{self._what}: stalled at {self._bytes / span:.0f} bytes a second")
        self._since, self._bytes = self._since + span, 0


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, as a number or a date."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text:
        return None
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, none of ours, or without its zone
        return None

"""Space: whether bytes fit where the store is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import StoreError
from cas.progress import human

if TYPE_CHECKING:
    from cas.store import Store

__all__ = ["check_space"]

RESERVE = 1 << 20  # bytes that are left free on the store's file system


def check_space(store: Store, needed: int) -> None:
    """Raise StoreError if *needed* bytes can't be written, or don't fit, where the store is."""
    store.need_writable()
    status = os.statvfs(store.root)
    free = status.f_bavail * status.f_frsize
    if needed + RESERVE > free:
        raise StoreError(
            f"{human(needed)} are needed, {human(free)} are free where the store {store.root} is, "
            f"and {human(RESERVE)} of that stays free",
            hint="cas gc, or CAS_STORE=DIR on another disk",
        )

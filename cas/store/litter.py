"""Litter: what crashes left in a store, and mutexes that nobody holds any more.

What a living process of this host made is left alone, however old it is; so is anything of
another host within gc's grace period.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cas.files import discard, hold, sweep, writer_is_alive, writer_is_dead
from cas.store.recipes import sweep_hints

if TYPE_CHECKING:
    from cas.store.layout import Store

__all__ = ["sweep_store"]

COMPANION_KEEPS = 86400  # seconds: a sidecar is written before its tree has its name


def sweep_store(store: Store, young: float, now: float, keeps: float) -> None:
    """Remove temporary names, old partials, old quarantine: what is not after *young*.

    Times are seconds since 1970; what is another host's stays for *keeps* seconds.
    """
    for room in ("objects", "trees"):
        sweep(store.place(room))
        for prefix in _listed(store.place(room)):
            sweep(store.place(room, prefix))
    for prefix in _listed(store.place("trees")):
        _sweep_companions(store.place("trees", prefix))
    for room in ("staging", "quarantine", "mutex"):
        sweep(store.place(room))
        for name in _listed(store.place(room)):
            path = store.place(room, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            old = max(status.st_mtime, status.st_ctime) <= young
            if room == "quarantine":
                going = old
            elif room == "staging":
                dead = writer_is_dead(name) and status.st_mtime <= young
                going = dead or (not writer_is_alive(name) and now - status.st_mtime >= keeps)
            else:
                going = False
                if len(name) == 64 and now - status.st_mtime >= keeps:
                    _remove_mutex(path)
            if going:
                discard(path)
    sweep_hints(store)
    sweep(store.root)


def _sweep_companions(directory: str) -> None:
    """Remove what lay beside a tree that is gone: a stop came before it went too."""
    names = set(_listed(directory))
    for name in names:
        tree, dot, _ = name.partition(".")
        if dot and len(tree) == 62 and tree not in names:
            path = os.path.join(directory, name)
            try:
                if time.time() - os.lstat(path).st_mtime > COMPANION_KEEPS:
                    discard(path)
            except OSError:
                continue


def _remove_mutex(path: str) -> None:
    """Remove the mutex of a tree; while somebody holds it, it is left."""
    try:
        with hold(path, wait=False) as held:
            if held:
                os.unlink(path)
    except OSError:
        pass


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []

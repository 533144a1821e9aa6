"""A project: where its requests, lock, store, views and experiments are, and ``path()``.

This room finds things and says how they stand. It brings nothing and writes no lock.

``requests`` reads and edits pyproject.toml · ``views`` looks at what lies under ``assets/`` ·
``begin`` makes one · ``uses`` what this process was given, and its ``cas run`` (``ledger``) ·
``watch`` git at the first of them · ``held`` what gc must keep for one · ``places`` the stores
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cas.project.begin import init
    from cas.project.core import Project, current, forget_current
    from cas.project.held import holds
    from cas.project.places import Stores, open_user_store, store_root
    from cas.project.requests import Settings
    from cas.project.uses import Used, Uses
    from cas.project.views import View, look
    from cas.project.watch import git_at_first_use, watch_git

__all__ = [
    "Project",
    "Settings",
    "Stores",
    "Used",
    "Uses",
    "View",
    "current",
    "forget_current",
    "git_at_first_use",
    "holds",
    "init",
    "look",
    "open_user_store",
    "store_root",
    "watch_git",
]

# ``cas.path()`` in a warm project costs a millisecond, if it imports no more than it needs
_ROOMS = {
    "Settings": "requests",
    "Stores": "places",
    "Used": "uses",
    "Uses": "uses",
    "View": "views",
    "git_at_first_use": "watch",
    "holds": "held",
    "init": "begin",
    "look": "views",
    "open_user_store": "places",
    "store_root": "places",
    "watch_git": "watch",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"cas.project.{_ROOMS.get(name, 'core')}"), name)
    globals()[name] = found
    return found

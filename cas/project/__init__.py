"""A project: where its requests, lock, store, views and experiments are, and ``path()``.

This room finds things and says how they stand. It brings nothing and writes no lock.

``requests`` reads and edits pyproject.toml · ``views`` looks at what lies under ``assets/`` ·
``begin`` makes one · ``uses`` what this process was given · ``holds`` what gc must keep for one
"""

from cas.project.begin import init
from cas.project.core import Project, current, forget_current, open_user_store, store_root
from cas.project.holds import holds
from cas.project.requests import Settings
from cas.project.uses import Used, Uses
from cas.project.views import View, look

__all__ = [
    "Project",
    "Settings",
    "Used",
    "Uses",
    "View",
    "current",
    "forget_current",
    "holds",
    "init",
    "look",
    "open_user_store",
    "store_root",
]

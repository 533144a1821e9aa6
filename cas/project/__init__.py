"""A project: where its requests, lock, store, views and experiments are, and ``path()``.

This room finds things and says how they stand. It brings nothing and writes no lock.

``requests`` reads and edits pyproject.toml · ``views`` looks at what lies under ``assets/`` ·
``begin`` makes one · ``uses`` what this process was given, and its ``cas run`` (``ledger``) ·
``watch`` git at the first of them · ``held`` what gc must keep for one · ``places`` the stores
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
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

open_rooms(
    __name__,
    begin="init",
    core="Project current forget_current",
    held="holds",
    places="Stores open_user_store store_root",
    requests="Settings",
    uses="Used Uses",
    views="View look",
    watch="git_at_first_use watch_git",
)

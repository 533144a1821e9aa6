"""Git's hooks: what git asks of a repository with an assets.lock, and how it comes to ask.

``install`` puts the hooks in and takes them out · ``script`` the lines that are put in ·
``checks`` what they look at · ``merging`` two sides of one file made one · ``git`` asks git
"""

from cas.hooks.checks import HOOKS, Told, run
from cas.hooks.install import Installed, install, uninstall
from cas.hooks.merging import merge_locks, merge_requests

__all__ = [
    "HOOKS",
    "Installed",
    "Told",
    "install",
    "merge_locks",
    "merge_requests",
    "run",
    "uninstall",
]

"""The state of git at the first use of an asset, read beside the caller.

A record compares it with the state at its save: a script that is edited while it runs has
moved, and its record says so. ``cas.path()`` does not wait for git.
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.gitstate import GitState

__all__ = ["git_at_first_use", "watch_git"]

WAIT = 3.0  # seconds; git itself is given two

_states: dict[str, tuple[threading.Thread, list[GitState | None]]] = {}


def watch_git(root: str) -> None:
    """Begin to read the state of git, once a process and project."""
    if root in _states:
        return
    found: list[GitState | None] = []

    def read() -> None:
        time.sleep(0.001)  # the caller goes on: what is loaded here would hold it up 5 ms a piece
        from pathlib import Path

        from cas.gitstate import GitState

        found.append(GitState.read(Path(root)))

    thread = threading.Thread(target=read, name="cas-git", daemon=True)
    _states[root] = thread, found
    thread.start()


def git_at_first_use(root: str) -> GitState | None:
    """Return what git said then; None if nothing was used, or git did not answer."""
    if root not in _states:
        return None
    thread, found = _states[root]
    thread.join(WAIT)
    return found[0] if found else None

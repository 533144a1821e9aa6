"""A copy of cas with a text replaced: to seed a fault, or to shorten a wait.

The text has to stand there once. Where it is gone, cas has changed, and the change has to be
written anew: a harness that tests the unchanged copy proves nothing.
"""

from __future__ import annotations

import compileall
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Change = tuple[str, str, str]
"""A file below cas/, the text that stands in it, and what is to stand there instead."""

HASTE: tuple[Change, ...] = (
    ("store/turn.py", "STUCK = 20.0", "STUCK = 0.4"),
    ("store/turn.py", "LOOK = 0.2", "LOOK = 0.02"),
    ("store/index.py", "PATIENCE = 10.0", "PATIENCE = 0.2"),
    ("store/index.py", "PATIENCE_THEN = 1.0", "PATIENCE_THEN = 0.1"),
)
"""Who waits for a stopped process goes on alone sooner than a person would want."""

NO_MUTEX: tuple[Change, ...] = (
    ("files/mutex.py", "    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX\n",
     "    return True\n"),
    ("store/staging.py", "                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
     "                pass\n"),
    ("resolver/write.py", "        with filelock.FileLock(project.mutex(), timeout=WAIT):\n",
     "        if project.mutex():\n"),
)  # fmt: skip
"""Every mutex is a no-op, as on a file system whose locks lie (I9)."""


class DoesNotApply(AssertionError):
    """The text that is to be replaced is not there any more."""


def altered(change: Change, package: Path) -> str:
    """Return the text of the change's file in *package* with it; raise DoesNotApply."""
    file, old, new = change
    place = package / file
    text = place.read_text() if place.exists() else ""
    if text.count(old) != 1:
        raise DoesNotApply(
            f"expected the text once in cas/{file}, found it {text.count(old)} times: {old!r}"
        )
    return text.replace(old, new)


def alter(code: Path, changes: Iterable[Change]) -> Path:
    """Make changes in a copy of cas, in the directory *code*; raise DoesNotApply."""
    for change in changes:
        text = altered(change, code / "cas")
        (code / "cas" / change[0]).write_text(text)
    compileall.compile_dir(code / "cas", quiet=2, force=True)
    return code

"""Two sides of assets.lock, or of pyproject.toml, made one: git's merge driver for them.

assets.lock is merged by asset. Per name, a side that is as the base was gives way to the other.
Where both moved one pin differently, both blocks stay between conflict markers, each one whole,
so that ``cas lock --ours`` and ``--theirs`` can decide.

pyproject.toml is merged by git, as text. Only where both sides put requests in at one place,
which is the end of ``[tool.cas.assets]``, both are kept; any other conflict is the person's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.errors import CasError, LockfileError
from cas.files import replace as replace_file
from cas.hooks.git import merge_text
from cas.lockfile import Lockfile, load_toml
from cas.names import check_name
from cas.project.requests import parse_settings
from cas.request import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.lockfile import Asset

__all__ = ["merge_locks", "merge_requests"]

_CONFLICT = re.compile(
    r"^<{7} ours\n(.*?)^\|{7} base\n(.*?)^={7}\n(.*?)^>{7} theirs\n", re.DOTALL | re.MULTILINE
)


def merge_locks(base: str, ours: str, theirs: str) -> list[str]:
    """Merge the files into *ours*; return the names of the assets that are left to decide.

    Raises LockfileError, *ours* untouched, where a side can't be read, or keys beside the
    assets moved on both sides.
    """
    sides = [_read(path) for path in (base, ours, theirs)]
    old, mine, other = sides
    extra = _chosen(old.extra, mine.extra, other.extra)
    if extra is None:
        raise LockfileError("assets.lock: its first keys differ on both sides")
    blocks, undecided = [], []
    for name in sorted({*mine.assets, *other.assets}):
        pins = [side.assets.get(name) for side in sides]
        if pins[0] == pins[1] or pins[1] == pins[2]:
            blocks.append(_block(pins[2]))
        elif pins[0] == pins[2]:
            blocks.append(_block(pins[1]))
        else:
            undecided.append(name)
            blocks.append(
                f"\n<<<<<<< ours\n{_block(pins[1])[1:]}=======\n{_block(pins[2])[1:]}"
                ">>>>>>> theirs\n"
            )
    text = replace(Lockfile(), extra=extra).text() + "".join(blocks)
    for side in lockfile.sides(text):
        lockfile.parse(side)  # two names may have one view now
    replace_file(ours, text.encode())
    return undecided


def _read(path: str) -> Lockfile:
    with open(path, "rb") as file:
        data = file.read()
    return lockfile.parse(data) if data.strip() else Lockfile()  # absent on that side


def _chosen(
    old: Mapping[str, Any], mine: Mapping[str, Any], other: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    if mine in (old, other):
        return other
    return mine if other == old else None


def _block(asset: Asset | None) -> str:
    """Return the text of one asset with the empty line before it; nothing for None."""
    if asset is None:
        return ""
    return "\n" + Lockfile({asset.name: asset}).text().partition("\n\n")[2]


def merge_requests(base: str, ours: str, theirs: str) -> bool:
    """Merge three files of pyproject.toml into *ours*; say no, *ours* untouched, if it can't be."""
    try:
        text = _CONFLICT.sub(_both, merge_text(base, ours, theirs).decode())
        parse_settings(text.encode())  # no markers are left, and no name is there twice
    except (CasError, ValueError):
        return False
    replace_file(ours, text.encode())
    return True


def _both(conflict: re.Match[str]) -> str:
    """Return the requests of both sides of a conflict; raise CasError or ValueError for others."""
    mine, base, other = conflict[1], conflict[2], conflict[3]
    if base.strip():
        message = "a request was changed or taken out"
        raise ValueError(message)
    for side in (mine, other):
        for name, table in load_toml(side).items():
            parse(table, place=check_name(name))
    lines = mine.splitlines(keepends=True)
    return "".join([*lines, *(line for line in other.splitlines(keepends=True)
                              if line not in lines)])  # fmt: skip

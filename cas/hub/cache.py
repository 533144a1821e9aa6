"""What the user's Hugging Face cache may hold already: candidates, by name, never trusted.

``<cache>/<kind>s--<owner>--<name>/blobs/<SHA-256 or git SHA-1>``, and, of Xet files,
``<cache>/blobs/<2 hex>/<Xet hash>``, which the former is a symlink to. Names come from a
listing that was checked and never from what lies in the cache; a name says nothing about
bytes, so the caller hashes them.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .snapshot import HubFile, Snapshot

__all__ = ["cached"]

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def cached(
    snapshot: Snapshot, files: Iterable[HubFile], *, names: Iterable[str] = ()
) -> Iterator[tuple[HubFile, str]]:
    """Yield files of *snapshot* with the path of a regular file that may be theirs.

    It has the right name and size, and can be read by this user; a file may come twice.
    *names* are other names of the repository, from before it was renamed: the cache goes by
    the name that was asked for. Nothing is written, and a cache that is not there is empty.
    """
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    wanted = dict.fromkeys((snapshot.repo, *names))
    folders = [f"{snapshot.kind}s--{name.replace('/', '--')}" for name in wanted]
    folders = [place for name in folders if os.path.isdir(place := f"{cache}/{name}/blobs")]
    shared = f"{cache}/blobs" if os.path.isdir(f"{cache}/blobs") else None
    if not folders and shared is None:
        return
    for file in files:
        if not file.size:
            continue
        places = [f"{folder}/{_name(file)}" for folder in folders]
        if shared and file.xet and _HASH.fullmatch(file.xet):
            places.append(f"{shared}/{file.xet[:2]}/{file.xet}")
        for found in dict.fromkeys(_followed(place, shared) for place in places):
            if found and _fits(found, file.size):
                yield file, found


def _name(file: HubFile) -> str:
    name = file.sha256 or file.git_sha1
    if not _HASH.fullmatch(name):  # it becomes part of a path
        message = f"no hash: {name!r}"
        raise ValueError(message)
    return name


def _followed(place: str, shared: str | None) -> str | None:
    """Return where the blob at *place* is: itself, or the shared one that it links to."""
    try:
        target = os.readlink(place)
    except OSError:  # no link, or nothing at all
        return place
    name = os.path.basename(target)
    if shared is None or not _HASH.fullmatch(name):
        return None
    return f"{shared}/{name[:2]}/{name}"  # whatever else the link says


def _fits(place: str, size: int) -> bool:
    try:
        status = os.lstat(place)
    except OSError:
        return False
    regular = stat.S_ISREG(status.st_mode) and status.st_size == size
    return regular and os.access(place, os.R_OK)

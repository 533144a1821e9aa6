"""Shared stores: several users of one group, each of whom owns what he put there.

::

    every directory of the store        3775 and the group's: setgid, so that what is made in it
                                        is the group's; sticky, so that nobody removes another's
    objects/00 … objects/ff, trees/…    made at once, so that they are all the administrator's
    settings.toml                       0644, believed if the store's owner or root wrote it:
                                        trust = "hash" | "group" | "own"

Who made the store is its administrator, as root is: his gc removes what anybody left, each
other user's only what is his own. Modes are set explicitly, whatever the umask.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.errors import StoreError, UsageError
from cas.files import fsync_dir, hold, sync_all, write_new
from cas.store.layout import FOR_GROUP, ROOMS, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.store.layout import Store, Trust

__all__ = ["SETTINGS", "find_group", "group_name", "read_trust", "share_store", "why_denied"]

SETTINGS = "settings.toml"
MAX_SETTINGS = 64 << 10  # bytes
_LOST = "permission denied: its group"  # may not write: what an owner mends
_MEMBER = "a member of that group who owns the store can do it, or root"
_TEXT = b"""\
# How far the users of this store believe what another one of them put here:
#   "hash"   it is hashed by each of them once, before he uses it for the first time
#   "group"  it is believed
#   "own"    it is not used where it lies; each has copies of his own, hashed
trust = "hash"
"""


def share_store(directory: str, group: str) -> Store:
    """Make the store at *directory* one that *group* (name or number) writes together.

    It may be there already, also half made or with modes that went wrong: then it is mended.

    Raises:
        UsageError: there is no such group.
        StoreError: this account may not give it to that group, or it is something else.
    """
    gid = find_group(group)
    if os.geteuid() != 0 and not _is_in(gid):  # before anything is made
        raise StoreError(
            f"{directory} can't be given to the group {group_name(gid)}: this account is not in it",
            hint=_MEMBER,
        )
    store = open_store(directory)
    there = os.path.isdir(store.root)
    status = os.stat(store.root) if there else None
    if status and os.geteuid() not in (0, status.st_uid):
        raise StoreError(
            f"the store {store.root} is user {status.st_uid}'s, who alone can share it",
            hint="CAS_STORE=DIR names a store of your own",
        )
    if store.readonly and not store.readonly.startswith(_LOST):
        store.need_writable()
    for room in ("objects", "trees"):
        for number in range(256):
            os.makedirs(store.place(room, f"{number:02x}"), exist_ok=True)
    for room in ROOMS:
        os.makedirs(store.place(room), exist_ok=True)
    directories = list(_directories(store))
    for path in directories:
        _open_to(path, gid, FOR_GROUP)
    with hold(store.place("mutex", "gc")):
        pass  # it is made, so that no other user makes it
    for entry in os.scandir(store.place("mutex")):
        if entry.is_file(follow_symlinks=False):
            _open_to(entry.path, gid, 0o664)
    _open_to(store.place("VERSION"), gid, 0o644)
    try:
        write_new(store.place(SETTINGS), _TEXT, mode=0o644)
    except FileExistsError:
        pass
    sync_all(directories, on=store.root)
    fsync_dir(os.path.dirname(store.root))
    return open_store(store.root, create=False)


def _directories(store: Store) -> Iterator[str]:
    """Yield the directories that many write: the store, its rooms, and those below, no tree."""
    yield store.root
    for room in ROOMS:
        yield store.place(room)
        if room in ("staging", "quarantine", "mutex"):
            continue
        for entry in os.scandir(store.place(room)):
            if entry.is_dir(follow_symlinks=False):
                yield entry.path


def _open_to(path: str, gid: int, mode: int) -> None:
    """Open a file or directory of the store to the group; never what a link there leads to."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if (stat.S_IMODE(status.st_mode), status.st_gid) == (mode, gid):
                return
            os.fchown(fd, -1, gid)
            os.fchmod(fd, mode)
            found = stat.S_IMODE(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(
            f"{path} can't be given to the group {group_name(gid)}: {error.strerror}",
            hint=_MEMBER,
        ) from None
    if found != mode:  # the system drops setgid where this account is not of the group
        raise StoreError(
            f"{path}: expected mode {mode:04o} for the group {group_name(gid)}, found {found:04o}",
            hint=_MEMBER,
        )


def find_group(word: str) -> int:
    """Return the number of a group that is named, or numbered; raise UsageError."""
    import grp

    if word.isascii() and word.isdigit() and len(word) < 11:
        return int(word)
    try:
        return grp.getgrnam(word).gr_gid
    except (KeyError, ValueError):
        raise UsageError(f"there is no group {word!r}", hint="getent group lists them") from None


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_in(gid: int) -> bool:
    """Say whether this account is of a group."""
    return gid in {os.getegid(), *os.getgroups()}


def why_denied(root: str, place: str) -> str:
    """Return why this account may not write *place* of a store that a group writes."""
    gid = os.stat(root).st_gid
    name = group_name(gid)
    if not _is_in(gid):
        return f"permission denied: it is the group {name}'s, and this account is not in it"
    mode = stat.S_IMODE(os.stat(place).st_mode)
    return (
        f"{_LOST} {name} may not write {place} (mode {mode:04o}); "
        f"its owner mends that: cas store init --shared {root} --group {name}"
    )


def read_trust(store: Store) -> Trust:
    """Return how far what others put into a store is believed; ``hash`` where nobody says.

    The file counts only if it is this user's, the store's owner's or root's, and the store is
    one that this user named: whoever may write the store could make one.

    Raises StoreError for a file of theirs that says something else.
    """
    path = store.place(SETTINGS)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            owners = {0, os.geteuid()} | ({os.stat(store.root).st_uid} if store.named else set())
            if status.st_uid not in owners or not stat.S_ISREG(status.st_mode):
                return "hash"
            data = file.read(MAX_SETTINGS)
    except OSError:
        return "hash"
    import tomllib

    try:
        found = tomllib.loads(data.decode()).get("trust", "hash")
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: {error!s:.200}", hint=f"$EDITOR {path}, by its owner") from None
    for known in ("hash", "group", "own"):
        if found == known:
            return known
    raise StoreError(
        f"{path}: trust: expected 'hash', 'group' or 'own', found {found!r:.80}",
        hint=f"$EDITOR {path}, by its owner",
    )

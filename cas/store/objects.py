"""Objects: made in staging, proved, synced, and only then named.

An object that has its name is complete, so readers take no mutex and two writers of one
object do no harm: who comes second keeps the first one's inode.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.digest import Digest, Sums, hash_fd, open_to_read
from cas.errors import StoreError
from cas.files import FSYNC_MANY, NO_LINKS, discard, named, sync_all, sync_open
from cas.store import index
from cas.store.damage import quarantine
from cas.store.index import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.store.layout import Store
    from cas.store.staging import Staged

__all__ = ["Publisher", "prove", "usable"]

BATCH_FILES = 10_000  # of them: two syncfs a batch; what is read back after a kill
BATCH_BYTES = 1 << 30
READ_ONLY = 0o444


class Publisher:
    """Gives staged files their names, in batches: write all, sync, link all, sync.

    Make it before the first byte is written: it holds the store's directory open, so that a
    sync learns of every error since then. A few files are synced by the descriptors that
    wrote them, which know of theirs; more by one ``syncfs``.
    """

    def __init__(self, store: Store) -> None:
        store.need_writable()
        self._store = store
        self._staged: list[Staged] = []
        self._bytes = 0
        self._root = os.open(store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if getattr(self, "_root", -1) >= 0:
            os.close(self._root)

    def add(self, staged: Staged) -> None:
        """Take a finished file; publish the batch if it has grown large."""
        self._staged.append(staged)
        self._bytes += staged.offset
        if len(self._staged) == FSYNC_MANY + 1:
            for one in self._staged:
                one.close()
        elif len(self._staged) > FSYNC_MANY:
            staged.close()
        if len(self._staged) >= BATCH_FILES or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Publish what was taken.

        Raises OSError where a sync failed: then nothing of the batch gets a name, and the
        bytes are given up, for a sync that is repeated proves nothing (I10).
        """
        batch, self._staged, self._bytes = self._staged, [], 0
        if not batch:
            return
        try:
            if len(batch) <= FSYNC_MANY and all(staged.fd >= 0 for staged in batch):
                with named(batch[0].path):
                    sync_open([staged.fd for staged in batch])
            else:
                sync_all([staged.path for staged in batch], on=self._root)
        except OSError:
            for staged in batch:
                staged.abandon(keep=False)
            raise
        for staged in batch:
            staged.close()
        names: dict[Digest, Known] = {}
        directories = {self._store.root, self._store.place("objects")}
        try:
            for staged in batch:
                sums = staged.sums
                if sums is None:
                    raise StoreError(f"{staged.path} was not proved before it was to be published")
                directory = self._store.place("objects", sums.sha256[:2])
                if directory not in directories:
                    self._store.make_dir(directory)
                    directories.add(directory)
                if _name(self._store, staged, sums) == staged.inode:
                    names[sums.sha256] = Known(sums.size, staged.mtime_ns, staged.inode, sums.xxh3)
        except BaseException:
            self._staged = batch
            self.give_up()
            raise
        sync_all(directories, on=self._root)
        index.remember(self._store, names)

    def give_up(self) -> None:
        """Publish nothing more; what the next run can go on with stays in staging."""
        staged, self._staged, self._bytes = self._staged, [], 0
        for one in staged:
            one.abandon()


def usable(store: Store, wanted: Mapping[Digest, int | None]) -> set[Digest]:
    """Return those of *wanted* (digest → size or None) that are here and may be reused.

    Size and mode are looked at; an object that the index does not know, or that is not as
    it was, is hashed and synced: whoever made it may have been stopped before its name was
    durable. One that no tree holds is as young again as if it were published now, so that gc
    leaves it to the call that reuses it. One that is not what its name says goes to quarantine.
    Raises Spoiled where that is another user's.
    """
    here: dict[Digest, os.stat_result] = {}
    bad: dict[Digest, os.stat_result] = {}
    for digest, size in wanted.items():
        try:
            status = os.lstat(store.object(digest))
        except OSError:
            continue
        fits = stat.S_ISREG(status.st_mode) and size in (None, status.st_size)
        (here if fits else bad)[digest] = status
    remembered = index.known(store, here)
    good = set()
    proved: dict[Digest, Known | None] = {}
    for digest, status in here.items():
        entry = remembered.get(digest)
        if entry and entry.fits(status) and not status.st_mode & 0o222:
            good.add(digest)
            continue
        if store.trust == "group" and store.is_foreign(status):
            proved[digest] = None
            continue
        try:
            now = prove(store, digest)
        except FileNotFoundError:
            continue
        if now is None:
            bad[digest] = status
        else:
            proved[digest] = now
    if not store.readonly:
        _sync_proved(store, proved)
        for digest in good | proved.keys():
            entry = proved.get(digest) or remembered.get(digest)
            if entry and (moved := _renew(store, digest, here[digest])):
                proved[digest] = entry._replace(mtime_ns=moved)
    index.remember(store, {digest: now for digest, now in proved.items() if now})
    for digest, status in bad.items():
        if not store.readonly:
            quarantine(store, digest, status)
    return good | proved.keys()


def _renew(store: Store, digest: Digest, status: os.stat_result) -> int | None:
    """Make an object young that no tree holds by a link; return its new mtime, in ns.

    Whoever published it was stopped before a listing named it, and gc goes by its mtime.
    """
    if status.st_nlink > 1:
        return None
    path = store.object(digest)
    try:
        os.utime(path, follow_symlinks=False)
        return os.lstat(path).st_mtime_ns
    except OSError:  # another user's, whose gc it is for; or it is gone, and the build says so
        return None


def _sync_proved(store: Store, proved: dict[Digest, Known | None]) -> None:
    """Make objects and their names durable; those that gc took meanwhile leave *proved*."""
    while proved:
        paths = [store.object(digest) for digest in proved]
        directories = {os.path.dirname(path) for path in paths} | {store.place("objects")}
        try:
            sync_all([*paths, *directories], on=store.root)
        except FileNotFoundError:
            gone = [digest for digest in proved if not store.has(digest)]
            if not gone:
                raise
            for digest in gone:
                del proved[digest]
        else:
            return


def prove(store: Store, digest: Digest) -> Known | None:
    """Hash the object; return what to remember of it, or None if its bytes are others.

    Raises FileNotFoundError if it is gone.
    """
    try:
        fd = open_to_read(store.object(digest))
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        sums = hash_fd(fd)
        if sums.sha256 != digest:
            return None
        if before.st_mode & 0o222 and not store.readonly:
            try:
                os.fchmod(fd, READ_ONLY)
            except OSError:
                pass  # another user's: its bytes are right now, and verify looks again
    except OSError:
        return None
    finally:
        os.close(fd)
    return Known(sums.size, before.st_mtime_ns, before.st_ino, sums.xxh3)


def _name(store: Store, staged: Staged, sums: Sums) -> int:
    """Give a staged file its name; return the inode that has it now."""
    final = store.object(sums.sha256)
    for _ in range(3):
        try:
            os.link(staged.path, final)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if not os.path.lexists(final):  # a file system without hard links: two steps there
                os.rename(staged.path, final)
                discard(staged.path)
                return staged.inode
        else:
            os.unlink(staged.path)
            return staged.inode
        try:
            status = os.lstat(final)
        except FileNotFoundError:
            continue  # gc was faster
        if (
            stat.S_ISREG(status.st_mode)
            and status.st_size == sums.size
            and (not store.is_foreign(status) or usable(store, {sums.sha256: sums.size}))
        ):
            if _renew(store, sums.sha256, status) is None and not os.path.lexists(final):
                continue  # the same
            discard(staged.path)
            return status.st_ino
        quarantine(store, sums.sha256, status)
    raise StoreError(f"object {sums.sha256} can't be named: {final} comes back")

"""The store as a whole: move it to another place, or remove it."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, IntegrityError, StoreError, UsageError
from cas.files import (
    discard,
    fsync_dir,
    hold,
    make_dirs,
    remove_tree,
    replace_symlink,
    sweep,
    sync_all,
)
from cas.installer.bring import check_space
from cas.installer.care import registered
from cas.names import view_of
from cas.progress import QUIET
from cas.project import Project, look, store_root
from cas.project.reading import root_id_of
from cas.store import (
    Publisher,
    Staging,
    add_file,
    build,
    calls_under_way,
    index,
    only_copy,
    open_store,
    read_listing,
    read_sidecar,
    root_ids,
)
from cas.store.layout import ROOMS
from cas.store.shared import SETTINGS, share_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.progress import Progress
    from cas.store import Store

__all__ = ["move_store", "remove_store"]


def move_store(store: Store, directory: str, *, progress: Progress = QUIET) -> str:
    """Move the store to *directory* (absent or empty), and return the new path.

    By rename where it can; else every object is copied and hashed, and trees are built
    anew, before the old store goes. Views of the projects that the store knows on this
    machine are pointed at the new place, and the user's configuration file names it.

    Raises UsageError, StoreError, IntegrityError: then the old store is as it was.
    """
    _need_owner(store)
    target = os.path.abspath(os.path.expanduser(directory))
    if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise UsageError(f"{directory!r}: expected an absent or empty directory")
    if target.startswith(store.root.rstrip("/") + "/"):
        raise UsageError(f"{directory!r} lies in the store")
    if not os.path.isdir(store.place("objects")):
        raise StoreError(f"there is no store at {store.root} yet", hint="CAS_STORE=DIR names one")
    with _alone(store, "cas store move, later"):
        roots = [row["path"] for row in registered(store) if row["present"]]
        make_dirs(os.path.dirname(target))
        renamed = True
        try:
            os.rename(store.root, target)  # onto nothing, or onto an empty directory
        except OSError as error:
            renamed = False
            progress.note(f"it can't be renamed ({error.strerror}): it is copied")
            _copy(store, target, progress)
        else:
            fsync_dir(os.path.dirname(target))
            fsync_dir(os.path.dirname(store.root))
            index.move(store, open_store(target, create=False))
        _configure(store.root, target, progress)
        for root in roots:
            try:
                _repoint(root, store.root, target)
            except (CasError, OSError) as error:
                progress.note(f"the views of {root} still lead to {store.root}: {error}")
        if not renamed:  # the old store goes when nothing leads to it any more
            _empty(store)
    return target


def _need_owner(store: Store) -> None:
    """Raise StoreError where a shared store is not this user's to move or remove."""
    store.need_writable()
    if store.shared and os.geteuid() not in (0, owner := os.stat(store.root).st_uid):
        raise StoreError(
            f"the store {store.root} is shared, and user {owner}'s to move or remove",
            hint="cas gc removes what is yours in it",
        )


@contextmanager
def _alone(store: Store, later: str) -> Iterator[None]:
    """Hold the store so that no call can begin, and refuse where one is under way."""
    store.make_dir(store.place("mutex"))
    with hold(store.place("mutex", "gc"), wait=False) as alone:
        users = calls_under_way(store) if alone else []
        if not alone or users:
            by = f" by {users[0]}" if users else ""
            raise StoreError(f"the store {store.root} is in use{by}", hint=later)
        yield


def _empty(store: Store) -> None:
    """Remove what is the store's from its directory, VERSION last, so that a stop can go on."""
    for room in ROOMS:
        if os.path.lexists(store.place(room)):
            remove_tree(store.place(room))
    sweep(store.root)
    discard(store.place(SETTINGS))
    discard(store.place("VERSION"))
    try:
        os.rmdir(store.root)
    except OSError:
        pass  # a mount point, or somebody's own files are in it


def remove_store(store: Store, *, local_too: bool = False) -> str:
    """Remove the whole store, and return where it was.

    Raises StoreError where it holds trees that no other source is known to have, unless
    *local_too*; or where it is in use.
    """
    _need_owner(store)
    local = [digest for digest, _ in store.trees() if only_copy(store, digest)]
    if local and not local_too:
        raise StoreError(
            f"known to no other source: {len(local)} of the trees of {store.root}, "
            f"as t1:{local[0][:12]}…",
            hint="cas store rm --local-too",
        )
    with _alone(store, "cas store rm, later"):
        _empty(store)
    return store.root


def _copy(store: Store, target: str, progress: Progress) -> None:
    new = open_store(target)
    new.need_writable()
    if store.shared:
        new = share_store(target, str(os.stat(store.root).st_gid))
        if os.path.isfile(store.place(SETTINGS)):
            shutil.copy2(store.place(SETTINGS), new.place(SETTINGS))
    rows = [(digest, entry.path) for digest, entry in store.objects()]
    size = sum(os.stat(path).st_size for _, path in rows)
    check_space(new, size)
    progress.begin("copy the store", files=len(rows), size=size)
    staging, publisher = Staging(new), Publisher(new)
    try:
        for digest, path in rows:
            sums = add_file(new, staging, publisher, path, progress=progress.advance)
            if sums.sha256 != digest:
                raise IntegrityError(
                    f"object in {store.root}",
                    expected=f"sha256 {digest}",
                    actual=sums.sha256,
                    hint="cas verify --full --repair",
                )
            progress.advance(0, files=1)
        publisher.flush()
        for digest, entry in store.trees():
            sidecar, listing = read_sidecar(store, digest), read_listing(store, digest)
            if listing is None:
                raise StoreError(f"the listing of tree t1:{digest} is lost",
                                 hint="cas verify --repair")  # fmt: skip
            origin = sidecar.origin if sidecar else {"local": True}
            build(new, listing, origin, single=len(listing) == 1)
            for end in (".used", ".bad"):
                if os.path.exists(entry.path + end):
                    shutil.copy2(entry.path + end, new.tree(digest) + end)
        for root in root_ids(store):
            new.make_dir(new.place("roots"))
            shutil.copytree(store.place("roots", root), new.place("roots", root))
            made = new.place("roots", root)
            sync_all([*(entry.path for entry in os.scandir(made)), made], on=new.root)
        sync_all([new.place("roots"), new.root], on=new.root)
    except BaseException:
        _empty(new)
        raise
    finally:
        publisher.give_up()
        progress.end()


def _repoint(root: str, old: str, new: str) -> None:
    """Point a project's views at the store's new place."""
    if root_id_of(root) is None:
        return
    project = Project(root)
    touched = []
    for asset in project.read_lock():
        view = look(root, view_of(asset.name))
        if view.state == "link" and view.store == old:
            path = os.path.join(root, view_of(asset.name))
            replace_symlink(path, new + view.target[len(old) :])
            touched.append(os.path.dirname(path))
    if touched:
        sync_all(touched, on=root)


def _configure(old: str, target: str, progress: Progress) -> None:
    """Name the new place in the user's configuration file.

    Where the environment names the old one, a link is left there: else the next command
    would begin an empty store in its place.
    """
    if os.environ.get("CAS_STORE"):
        try:
            if os.path.isdir(old):
                os.rmdir(old)
            os.symlink(target, old)
        except OSError:
            progress.note(f"CAS_STORE names {old} still: export CAS_STORE={shlex.quote(target)}")
            return
        commands = f"export CAS_STORE={shlex.quote(target)}; rm {shlex.quote(old)}"
        progress.note(f"a link to it was left at {old}, which CAS_STORE names: {commands}")
        return
    if store_root() == target:
        return
    import platformdirs
    import tomlkit

    from cas.files import replace

    place = os.path.join(platformdirs.user_config_dir("cas"), "config.toml")
    try:
        with open(place, encoding="utf-8") as file:
            document: Any = tomlkit.parse(file.read())
    except FileNotFoundError:
        document = tomlkit.document()
    document["store"] = target
    make_dirs(os.path.dirname(place))
    replace(place, tomlkit.dumps(document).encode())

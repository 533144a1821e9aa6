"""One project: its root, its lock and requests, its store, and ``path()``."""

from __future__ import annotations

import os
import sys
import threading
import time

from cas import warm
from cas.errors import (
    CasError,
    Edited,
    NoProject,
    NotPulled,
    remedy,
    typed,
)
from cas.files import read_plain
from cas.names import find, view_of
from cas.project.reading import MOST, read_lock_file, root_id_of
from cas.project.uses import Used, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.lockfile import Asset, Lockfile
    from cas.project.ledger import Ledger
    from cas.project.places import Stores
    from cas.project.requests import Settings
    from cas.store import Store

__all__ = ["Project", "current", "forget_current"]

LOCK = "assets.lock"
REQUESTS = "pyproject.toml"
EXPERIMENTS = "assets/outputs/experiments"
HIDDEN = "# made by cas: what is being edited"


class Project:
    """One directory with an assets.lock, and the store that it shares with others."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.lock_path = os.path.join(self.root, LOCK)
        """Where assets.lock is."""
        ledger = _ledger(self.root)
        self.past = ledger.past if ledger else None
        """The lock of an experiment, which stands in for assets.lock (``cas run --at``)."""
        self.uses = Uses(ledger)
        self._stores: Stores | None = None
        self._warm: tuple[tuple[int, int, int], warm.Warm] | None = None
        self._lock: tuple[bytes, Lockfile] | None = None  # what was parsed last, and of which bytes
        self._settings: tuple[bytes | None, Settings] | None = None
        self._told: set[str] = set()  # trees that were looked up among the bad ones
        self._words: dict[tuple[str, str], tuple[warm.WarmAsset, Used]] = {}
        """What was asked for, in which role → what the warm lock has of it, and the use of it."""

    @classmethod
    def find(cls, start: str | None = None, *, script: str | None = None) -> Project:
        """Return the project that *start* (default: the working directory) is in.

        ``CAS_PROJECT`` names one; else the nearest directory from *start* up that has an
        assets.lock, then from *script* up. Raises NoProject.
        """
        named = os.environ.get("CAS_PROJECT") if start is None else None
        if named:
            if not os.path.lexists(os.path.join(named, LOCK)):
                raise NoProject(f"no {LOCK} in {named!r}, which CAS_PROJECT names", hint="cas init")
            return cls(named)
        starts = [start or os.getcwd()]
        if script:
            starts.append(os.path.dirname(os.path.abspath(script)))
        for place in starts:
            directory = os.path.realpath(place)
            while True:
                if os.path.lexists(os.path.join(directory, LOCK)):
                    return cls(directory)
                parent = os.path.dirname(directory)
                if parent == directory:
                    break
                directory = parent
        raise NoProject(f"no {LOCK} in {starts[0]!r} or above", hint="cas init")

    # Files

    @property
    def experiments(self) -> str:
        """Where the records of experiments are."""
        return os.path.join(self.root, EXPERIMENTS)

    def lock_bytes(self) -> bytes:
        """Return the bytes of assets.lock, or of the lock that stands in for it.

        Raises LockfileError if it can't be read.
        """
        return read_lock_file(self.past or self.lock_path)

    def present_lock_bytes(self) -> bytes:
        """Return the bytes of assets.lock itself; raise LockfileError if it can't be read."""
        return read_lock_file(self.lock_path)

    def requests_bytes(self) -> bytes | None:
        """Return the bytes of pyproject.toml, or None if there is none."""
        try:
            return read_plain(os.path.join(self.root, REQUESTS), MOST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CasError(
                f"{self.root}/{REQUESTS}: {error.strerror}", hint=remedy(error)
            ) from None

    def read_lock(self) -> Lockfile:
        """Read assets.lock; raise LockfileError. The same bytes are parsed once."""
        data, held = self.lock_bytes(), self._lock
        if held is None or held[0] != data:
            from cas import lockfile

            held = self._lock = data, lockfile.parse(data)
        return held[1]

    def read_settings(self) -> Settings:
        """Read ``[tool.cas]`` of pyproject.toml; raise RequestError. As ``read_lock`` does."""
        data, held = self.requests_bytes(), self._settings
        if held is None or held[0] != data:
            from cas.project.requests import parse_settings

            held = self._settings = data, parse_settings(data)
        return held[1]

    # The store

    @property
    def stores(self) -> Stores:
        """The stores in which this project's assets may lie."""
        if self._stores is None:
            from cas.project.places import Stores

            self._stores = Stores()
        return self._stores

    @property
    def store(self) -> Store:
        """The store, opened (and made, if it is absent) at the first need."""
        return self.stores.main

    def root_id(self, *, draw: bool) -> str | None:
        """Return the id under which the store knows this place; *draw* one if there is none.

        A moved or copied project draws a new one: the id lies with the path it was made for.
        """
        found = root_id_of(self.root)
        if found or not draw:
            return found
        from cas.files import make_dirs, replace
        from cas.project.views import make_parents

        make_parents(self.root, "assets/.cas/root")
        make_dirs(os.path.join(self.root, "assets/.cas"))
        drawn = os.urandom(16).hex()
        replace(os.path.join(self.root, "assets/.cas/root"), f"{drawn}\n{self.root}\n".encode())
        return drawn

    def mutex(self) -> str:
        """Return the file whose lock two writers of this project's files take in turn."""
        from cas.project.views import make_parents

        make_parents(self.root, "assets/.cas/mutex")
        return os.path.join(self.root, "assets/.cas/mutex")

    # Views and trees

    def edited(self) -> set[str]:
        """Return the names of the assets whose views are writable copies (``cas edit``)."""
        try:
            with open(os.path.join(self.root, "assets/.cas/edited"), encoding="utf-8") as file:
                return set(file.read().split("\n")) - {""}
        except (OSError, UnicodeDecodeError):
            return set()

    def set_edited(self, names: set[str]) -> None:
        """Write down which assets' views are writable copies."""
        from cas.files import replace

        self.mutex()
        text = "".join(f"{name}\n" for name in sorted(names))
        replace(os.path.join(self.root, "assets/.cas/edited"), text.encode())
        self._hide_from_git(names)

    def tidy_edited(self) -> None:
        """Write down again what is being edited, where a command was killed before it did."""
        edited = self.edited()
        copies = {n for n in edited if not os.path.islink(os.path.join(self.root, view_of(n)))}
        if copies != edited:
            self.set_edited(copies)
        else:
            self._hide_from_git(copies)

    def _hide_from_git(self, names: set[str]) -> None:
        """Keep copies that are being edited out of git, their ``*.md`` files too."""
        place = os.path.join(self.root, "assets/.gitignore")
        views = "".join(f"/{view_of(name).removeprefix('assets/')}\n" for name in sorted(names))
        wanted = f"{HIDDEN}\n{views}"
        try:
            with open(place, encoding="utf-8", errors="replace") as file:
                found = file.read(1 << 20)
        except FileNotFoundError:
            found = wanted if not names else f"{HIDDEN}\n"
        if found != wanted and found.startswith(f"{HIDDEN}\n"):  # else it is a person's own
            from cas.files import replace

            replace(place, wanted.encode())

    def tree_of(self, asset: Asset) -> tuple[str, dict[str, int]] | None:
        """Return (path, mtimes of directories) of the tree that an asset has here, or None.

        A view that resolves to the locked tree is right whichever readable store it lies in.
        """
        from cas.project.views import look

        view = look(self.root, view_of(asset.name))
        leads = view.state == "link" and view.tree == asset.tree
        found = self.stores.where(asset.tree, view.store if leads else "")
        return (found[0].tree(asset.tree), dict(found[1].directories)) if found else None

    def target_of(self, asset: Asset, tree: str) -> str:
        """Return what the view's link says: the tree, or the file of a single-file asset."""
        return os.path.join(tree, asset.file) if asset.file else tree

    def keep_warm(
        self,
        lock_bytes: bytes,
        requests_bytes: bytes | None,
        lock: Lockfile,
        stand: Mapping[str, tuple[str, dict[str, int]]],
    ) -> None:
        """Keep the parsed lock for the next command, if all of it is in place.

        *stand* is name → (tree, mtimes of its directories) of those that were just looked at.
        """
        rows = []
        for asset in lock:
            found = stand.get(asset.name) or self.tree_of(asset)
            if found is None:
                return
            tree, mtimes = found
            rows.append(
                warm.WarmAsset(
                    asset.name,
                    asset.tree,
                    asset.commit or "",
                    asset.hub_ids,
                    view_of(asset.name),
                    self.target_of(asset, tree),
                    [(os.path.join(tree, d) if d else tree, at) for d, at in mtimes.items()],
                )
            )
        warm.save(self.root, lock_bytes, requests_bytes, rows)

    def path(self, word: str, *, role: str = "input") -> str:
        """Return the tree of a pulled asset (a single-file asset: its file), and note the use.

        The path lies in the store, not under ``assets/``: a later pull does not change the
        bytes under a process that runs.

        Raises:
            UnknownAsset: *word* fits no asset, or more than one.
            Edited: its view is a writable copy.
            NotPulled: it is locked and not here, or damage was found in it.
        """
        kept = self._load_warm()
        if kept:
            if (word, role) not in self._words:
                known = {row.name: row.repo or None for row in kept.assets.values()}
                row = kept.assets[find(word, known)]
                used = Used(row.name, f"t1:{row.tree}", row.commit or None, role)
                self._words[word, role] = row, used
            row, used = self._words[word, role]
            if warm.in_place(self.root, row):
                self._given(used)
                if time.time() - kept.stamp > 86400:
                    self._note_use(row.target)
                return row.target
        asset = self.read_lock().find(word)
        self._check_unedited(asset)
        found = self.tree_of(asset)
        if found is None:
            from cas.store import standing

            _, reason = standing(self.store, asset.tree)
            repair = "damage" in reason or "missing" in reason
            raise NotPulled(
                f"{asset.name!r} is locked but can't be used: {reason}",
                hint=f"cas verify {typed(asset.name)} --repair"
                if repair
                else f"cas pull {typed(asset.name)}",
            )
        self._given(Used(asset.name, asset.tree_id, asset.commit, role))
        target = self.target_of(asset, found[0])
        self._note_use(target)
        return target

    def _given(self, used: Used) -> None:
        """Note a use; of what is marked bad, or was made of it, tell the first time."""
        self.uses.note(used)
        if used.tree not in self._told:
            self._told.add(used.tree)
            if b"bad" in (self.requests_bytes() or b""):
                from cas.project.bad import tell_if_bad

                tell_if_bad(self, used.name, used.tree)

    def _check_unedited(self, asset: Asset) -> None:
        view = view_of(asset.name)
        place = os.path.join(self.root, view)
        copied = os.path.lexists(place) and not os.path.islink(place)  # else the copy was removed
        if copied and not self.past and asset.name in self.edited():
            raise Edited(
                f"{asset.name!r} is being edited: {view} is a writable copy",
                hint=f"cas add {typed(view)} --name {typed(asset.name)} takes it in; "
                f"cas pull --force {typed(asset.name)} goes back",
            )

    def _note_use(self, target: str) -> None:
        split = warm.tree_of_link(target)
        store = next((s for s in self.stores.written if split and s.root == split[0]), None)
        if split and store:
            from cas.digest import Digest
            from cas.store import note_use

            note_use(store, Digest(split[1]), time.time())

    def _load_warm(self) -> warm.Warm | None:
        """Return the warm lock; within a process the lock's stat says whether it still is.

        What a name means is for assets.lock alone to say: pyproject.toml is compared once.
        """
        if self.past:
            return None
        try:
            status = os.stat(self.lock_path)
            key = status.st_ino, status.st_size, status.st_mtime_ns
        except OSError:
            key = 0, 0, 0
        if self._warm and self._warm[0] == key:
            return self._warm[1]
        kept = warm.load(self.root)
        self._words = {}
        self._warm = (key, kept) if kept else None
        return kept


def _ledger(root: str) -> Ledger | None:
    if "CAS_RUN" not in os.environ:
        return None
    from cas.project.ledger import ledger_of

    return ledger_of(root)


_current: Project | None = None
_finding = threading.Lock()  # two projects of one process would each have half of its uses


def current() -> Project:
    """Return the project that this process acts on, found once; raise NoProject.

    It is that of the working directory, else of the main script.
    """
    global _current
    with _finding:
        if _current is None:
            _current = Project.find(script=getattr(sys.modules.get("__main__"), "__file__", None))
        return _current


def forget_current() -> None:
    """Find the project again at the next call (after ``chdir``, in notebooks and tests)."""
    global _current
    _current = None

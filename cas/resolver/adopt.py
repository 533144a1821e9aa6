"""adopt: files that lie under ``assets/`` already become assets, in place.

They are hashed where they lie, become objects by a second link, and the old names go last,
when lock and store are durable: a stop in the middle loses nothing. Where a Hub commit has
the same files, the asset is pinned to it; else it is a local one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.digest import CHUNK, git_blob_hasher
from cas.errors import CasError, UsageError, typed
from cas.installer import Bringer
from cas.installer.apart import into_own
from cas.installer.link import sweep_project, sync_views
from cas.installer.local import files_below
from cas.installer.pull import needs_of
from cas.names import check_name, check_names
from cas.progress import QUIET
from cas.request import HubRequest, LocalRequest
from cas.resolver import pin
from cas.resolver.add import publish
from cas.resolver.meaning import AddOptions
from cas.resolver.pin import Move, move_of
from cas.store import Vanished

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.hub import Snapshot
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["Adopted", "adopt"]

NOT_ASSETS = ("outputs", ".cas", "README.md")
MOST_PATTERNS = 200
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """One directory or file below assets/, and what becomes of it."""

    name: str
    path: str
    """Relative to the project."""
    files: int
    size: int
    """bytes"""
    move: Move | None = None
    """None where it was only said (``--dry-run``), or failed."""
    error: CasError | None = None
    """Why it was left as it is."""


def adopt(
    project: Project,
    paths: Iterable[str] = (),
    *,
    ask_hub: bool = True,
    dry_run: bool = False,
    progress: Progress = QUIET,
) -> list[Adopted]:
    """Make assets of what lies below ``assets/``, or of each of *paths*; return them.

    Every ``datasets|models/<org>/<name>`` directory, tokenizer directory and file that is no
    view and not under ``outputs/``. With *dry_run* it only says what it would do.

    What fails is left as it is, and the others are done: its row has the error. Raises
    UsageError for a path that is no candidate.
    """
    from dataclasses import replace

    requests = dict(project.read_settings().requests)
    sweep_project(project, project.read_lock().assets)
    places = [os.path.abspath(path) for path in paths] or _candidates(project)
    found = []
    done: list[Adopted] = []
    for place in places:
        name = _name(project, place)
        try:
            inside = _inside(project, place)
        except CasError as error:
            if dry_run or len(places) == 1:
                raise
            path = os.path.relpath(place, project.root)
            done.append(Adopted(name=name, path=path, files=0, size=0, error=error))
            continue
        if inside:
            found.append((name, place, inside))
    check_names({*requests, *(name for name, _, _ in found)})
    for name, place, inside in found:
        row = Adopted(
            name=name,
            path=os.path.relpath(place, project.root),
            files=len(inside),
            size=sum(size for _, _, size in inside),
        )
        if not dry_run:
            try:
                row = _adopt(project, row, place, inside, ask_hub=ask_hub, progress=progress)
            except CasError as error:
                row = replace(row, error=error)
        done.append(row)
    if not dry_run:  # vouch for what an adoption did that was killed before it was durable
        sync_views(project, project.read_lock().assets)
        needs_of(project)
    return done


def _inside(project: Project, place: str) -> list[tuple[str, str, int]]:
    """Return the files of a candidate; raise UsageError if it holds what an asset can't keep."""
    path = os.path.relpath(place, project.root)
    if os.path.lexists(os.path.join(place, ".git")):
        raise UsageError(f"{path!r} holds a .git directory, which an asset does not keep",
                         hint=f"mv {typed(path)}/.git elsewhere")  # fmt: skip
    if not os.path.isdir(place):
        return [(os.path.basename(place), place, os.lstat(place).st_size)]
    try:
        return files_below(place)
    except UsageError as error:
        raise UsageError(str(error), hint=f"cas add {typed(path)} --follow --name NAME, or "
                         "--skip-special") from None  # fmt: skip


def _adopt(
    project: Project,
    row: Adopted,
    place: str,
    inside: list[tuple[str, str, int]],
    *,
    ask_hub: bool,
    progress: Progress,
) -> Adopted:
    from dataclasses import replace

    lock = project.read_lock()
    bringer = Bringer(project, lock, progress=progress, offline=not ask_hub, jobs=8)
    request = LocalRequest(local=row.path)
    old = lock.assets.get(row.name)
    snapshot = None
    taker = bringer
    if project.store.shared and (old.access if old else ask_hub):
        taker = into_own(bringer)  # it may be gated: it is shared when that is known
    for _ in range(5):
        try:
            new = pin.pin_local(taker, row.name, request, place, move=True, tree=False)
            if old is not None:
                new = _as_locked(old, new, row.path)
            elif ask_hub and snapshot is None and os.path.isdir(place):
                snapshot = _on_hub(taker, row.name, place, inside, new)
            if old is None and snapshot is not None:
                new = _pinned(taker, new, snapshot)
            publish(project, bringer, new, AddOptions(), own_view=True)
            break
        except Vanished:
            continue
    return replace(row, move=move_of(bringer, row.name, old, new))


def _as_locked(old: Asset, new: Asset, path: str) -> Asset:
    """Return the pin that an asset has already; raise UsageError if other files lie there."""
    if old.tree != new.tree:
        raise UsageError(
            f"{path} is not what is locked as {old.name!r}, so it was left as it is",
            hint=f"cas add {typed(path)} --name {typed(old.name)} takes it in; "
            f"mv {typed(path)} elsewhere && cas pull gives what is locked",
        )
    return old


def _pinned(bringer: Bringer, local: Asset, snapshot: Snapshot) -> Asset:
    """Return the pin to a Hub commit whose files are those just imported."""
    from dataclasses import replace

    from cas.store import read_listing

    listing = read_listing(bringer.store, local.tree)
    paths = [entry.path for entry in listing] if listing else []
    whole = len(paths) == len(snapshot.files)
    request = HubRequest(
        kind=snapshot.kind,
        repo=snapshot.repo,
        include=() if whole else tuple(re.sub(r"([*?\[])", r"[\1]", path) for path in paths),
    )
    return replace(
        local, request=request, repo=snapshot.repo, commit=snapshot.commit, access=snapshot.access,
        file=None,
    )  # fmt: skip


def _on_hub(
    bringer: Bringer, name: str, place: str, inside: list[tuple[str, str, int]], new: Asset
) -> Snapshot | None:
    """Return the Hub's snapshot that has exactly these bytes at these paths, or None."""
    from cas.store import read_listing

    kind = {"datasets": "dataset", "models": "model", "spaces": "space"}.get(name.partition("/")[0])
    repo = name.partition("/")[2]
    if kind is None or repo.count("/") > 1 or len(inside) > MOST_PATTERNS * 500:
        return None
    listing = read_listing(bringer.store, new.tree)
    if listing is None:
        return None
    digests = dict(listing.entries)
    for revision in (*_downloaded_commits(place), None):
        try:
            snapshot = pin.resolve(
                bringer, HubRequest(kind=kind, repo=repo, revision=revision), revision=revision
            )
        except CasError as error:
            bringer.progress.note(f"{name}: the Hub was asked, and {error}")
            return None
        theirs = {file.path: file for file in snapshot.files}
        same = len(digests) <= len(theirs) and all(
            path in theirs
            and (
                digest == theirs[path].sha256
                if theirs[path].sha256
                else _git_sha1(bringer.store.object(digest)) == theirs[path].git_sha1
            )
            for path, digest in digests.items()
        )
        if same and (len(digests) == len(theirs) or len(digests) <= MOST_PATTERNS):
            return snapshot
    return None


def _downloaded_commits(place: str) -> list[str]:
    """Return the commits that the Hub client's own notes say the files were fetched at."""
    found: dict[str, None] = {}
    for directory, _, files in os.walk(os.path.join(place, ".cache/huggingface/download")):
        for file in files:
            if file.endswith(".metadata"):
                try:
                    with open(os.path.join(directory, file), encoding="utf-8") as text:
                        commit = text.readline().strip()
                except (OSError, UnicodeDecodeError):
                    continue
                if _COMMIT.fullmatch(commit):
                    found[commit] = None
    return list(found)[:3]


def _git_sha1(path: str) -> str:
    hasher = git_blob_hasher(os.stat(path).st_size)
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            hasher.update(data)
    return hasher.hexdigest()


def _candidates(project: Project) -> list[str]:
    """Return what below assets/ could be an asset, in order."""
    top = os.path.join(project.root, "assets")
    found: list[str] = []
    for kind in ("datasets", "models", "spaces"):
        for entry in _entries(os.path.join(top, kind)):
            if entry.is_file(follow_symlinks=False):
                found.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                if (kind, entry.name) == ("models", "tokenizers"):
                    found += [e.path for e in _entries(entry.path) if not e.is_symlink()]
                elif (kind, entry.name) == ("datasets", "tokens"):
                    continue
                else:
                    found += _below(entry)
    return found


def _below(entry: os.DirEntry[str]) -> list[str]:
    """Return an ``<org>`` directory's assets, or the directory itself if it holds files."""
    inside = _entries(entry.path)
    if any(e.is_file(follow_symlinks=False) for e in inside):
        return [entry.path]
    return [e.path for e in inside if e.is_dir(follow_symlinks=False)]


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(
            (e for e in os.scandir(path) if not e.name.startswith(".") and e.name != "README.md"),
            key=lambda e: e.name,
        )
    except OSError:
        return []


def _name(project: Project, place: str) -> str:
    inside = os.path.relpath(os.path.realpath(os.path.dirname(place)), project.root)
    relative = f"{inside}/{os.path.basename(place)}"
    parts = relative.split("/")
    if os.path.islink(place) or not os.path.lexists(place):
        raise UsageError(f"{place!r}: expected a directory or file of yours, "
                         f"found {'a link' if os.path.islink(place) else 'nothing'}")  # fmt: skip
    if parts[0] != "assets" or len(parts) < 3 or parts[1] in NOT_ASSETS:
        raise UsageError(
            f"{place!r} is not below assets/datasets or assets/models",
            hint=f"cas add {os.path.relpath(place)} takes in what lies elsewhere",
        )
    rest = "/".join(parts[2:])
    for kind, prefix in (("tokenizers", "models/tokenizers/"), ("tokens", "datasets/tokens/")):
        if f"{parts[1]}/{rest}".startswith(prefix):
            return check_name(f"{kind}/{f'{parts[1]}/{rest}'[len(prefix) :]}")
    return check_name(f"{parts[1]}/{rest}")

"""What a name means on the Hub now: a commit, and the files that it holds.

Two kinds of request: one for the repository's info, which turns a branch, a tag or a short
commit into a whole one, and the listing at that commit, a page at a time. Neither the
answers nor the names in them are trusted.
"""

from __future__ import annotations

import re
import time
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from cas.bounded import load_json
from cas.digest import is_digest, parse_digest
from cas.errors import ListingError, SourceError
from cas.listing import check_path, is_left_out

from .faults import Asked, Fault, Gated, NotOnHub
from .line import LIMITS, Limits, Line, Pace, Patience
from .snapshot import KINDS, HubFile, Kind, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["kinds_of", "resolve"]

_REPO = re.compile(r"(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
_SHA1 = re.compile(r"[0-9a-f]{40}")
_NEXT = re.compile(r"<([^<>]*)>[^<]*;\s*rel=\"?next\b")
_PAGES = 20_000
_NAMES = 5_000  # names kept for "did you mean"


def resolve(
    kind: Kind,
    repo: str,
    revision: str | None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    notice: Callable[[str], None] | None = None,
    limits: Limits = LIMITS,
) -> Snapshot:
    """Return what *revision* (a branch, tag, ``refs/pr/1``, commit; None: the default) is now.

    Patterns are those of huggingface_hub: ``*`` crosses directories, ``data/`` is all that
    is in it. A file stays that fits one of *include*, if there are any, and none of
    *exclude*. Nothing is read from or written to a cache.

    Raises NotOnHub, AccessDenied, Offline, and SourceError: also for a pattern of *include*
    that fits nothing, and for a listing that no asset can be made of.
    """
    _check_repo(repo)
    with Line(limits, notice=notice) as line:
        info = _info(line, kind, repo, revision)
        asked = Asked(
            kind, _name(info, kind, repo), line.endpoint, _commit(info, kind, repo, revision)
        )
        chosen = _Patterns(include, exclude)
        files = [
            _file(entry, asked)
            for entry in _entries(line, asked)
            if not is_left_out(entry["path"]) and chosen.take(entry["path"])
        ]
    chosen.check(asked)
    files.sort(key=lambda file: file.path)
    _check_tree(files, asked)
    return Snapshot(
        kind=kind,
        repo=asked.repo,
        commit=str(asked.revision),
        files=tuple(files),
        access=_access(info),
    )


def kinds_of(
    repo: str,
    *,
    notice: Callable[[str], None] | None = None,
    limits: Limits = LIMITS,
) -> list[Kind]:
    """Return the kinds of repository that the Hub has under this name.

    A space is looked for only where there is neither a model nor a dataset: two requests,
    or three. One that is there but may not be read counts.

    Raises AccessDenied, Offline, SourceError; an empty list is no error.
    """
    _check_repo(repo)
    found: list[Kind] = []
    with Line(limits, notice=notice) as line:
        for kind in KINDS:
            if kind == "space" and found:
                break
            try:
                _info(line, kind, repo, None)
            except NotOnHub:
                continue
            except Gated:
                pass
            found.append(kind)
    return found


class _Patterns:
    """Include and exclude patterns, and which of them fitted something."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [(pattern, _compiled(pattern)) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._idle = dict(self._include)
        self._names: list[str] = []

    def take(self, path: str) -> bool:
        """Say whether the file at *path* stays."""
        if self._idle:
            for pattern in [p for p, regex in self._idle.items() if regex.match(path)]:
                del self._idle[pattern]
            if len(self._names) < _NAMES:
                self._names.append(path)
        if self._include and not any(regex.match(path) for _, regex in self._include):
            return False
        return not (self._exclude and any(regex.match(path) for regex in self._exclude))

    def check(self, asked: Asked) -> None:
        """Raise SourceError for the include patterns that fitted no file."""
        if not self._idle:
            return
        from difflib import get_close_matches

        names = ", ".join(repr(pattern) for pattern in self._idle)
        near: list[str] = []
        for pattern in self._idle:
            near += get_close_matches(pattern, self._names, 3, 0.5)
        near = list(dict.fromkeys(near or self._names[:3]))
        raise SourceError(
            f"{asked}: no file fits {names} at commit {asked.revision:.12}",
            hint=f"it has {', '.join(repr(name) for name in near[:5])}" if near else None,
        )


def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.replace("\\", "/")
    return re.compile(translate(pattern + "*" if pattern.endswith("/") else pattern))


def _check_repo(repo: str) -> None:
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise SourceError(
            f"{repo!r:.200} is no name of a repository on the Hub",
            hint="its names are 'owner/name', of letters, digits, '-', '_' and '.'",
        )


def _info(line: Line, kind: Kind, repo: str, revision: str | None) -> Mapping[str, Any]:
    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    # without `expand` the answer lists every file too: megabytes for a large repository
    wanted = "expand=sha&expand=private" + ("" if kind == "space" else "&expand=gated")
    asked = Asked(kind, repo, line.endpoint, revision)
    info, _ = _get(line, f"{line.endpoint}/api/{kind}s/{repo}{at}?{wanted}", asked)
    if not isinstance(info, dict):
        raise SourceError(f"{asked}: expected the repository's info, found {info!r:.80}")
    return info


def _name(info: Mapping[str, Any], kind: Kind, repo: str) -> str:
    name = info.get("id", repo)
    if not isinstance(name, str) or not _REPO.fullmatch(name) or ".." in name:
        raise SourceError(f"{kind} {repo!r}: the Hub calls it {name!r:.200}, which is no name")
    return name


def _commit(info: Mapping[str, Any], kind: Kind, repo: str, revision: str | None) -> str:
    sha = info.get("sha")
    if sha is None:
        raise SourceError(f"{kind} {repo!r}: the repository has no commit, so no files")
    if not isinstance(sha, str) or not _SHA1.fullmatch(sha):
        raise SourceError(
            f"{kind} {repo!r}: expected a commit of 40 hexadecimal digits, found {sha!r:.90}"
        )
    if revision is not None and _SHA1.fullmatch(revision) and sha != revision:
        raise SourceError(f"{kind} {repo!r}: asked for commit {revision}, found {sha}")
    return sha


def _access(info: Mapping[str, Any]) -> Literal["gated", "private"] | None:
    if info.get("private"):
        return "private"
    return "gated" if info.get("gated") else None


def _entries(line: Line, asked: Asked) -> Iterator[dict[str, Any]]:
    """Yield the files of the listing, with a text for a path; the rest is not checked."""
    api = f"{line.endpoint}/api/{asked.kind}s/{asked.repo}/tree/{asked.revision}"
    url: str | None = f"{api}?recursive=true"
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) >= _PAGES:
            raise SourceError(f"{asked}: its listing has no end, at page {len(seen):,}")
        seen.add(url)
        page, following = _get(line, url, asked)
        if not isinstance(page, list):
            raise SourceError(f"{asked}: expected a list of files, found {page!r:.80}")
        for entry in page:
            if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
                raise SourceError(f"{asked}: expected a file with a path, found {entry!r:.200}")
            if entry.get("type") == "file":
                yield entry
        # a mirror may pass on the Hub's own link, or one to a host behind it: what counts in it
        # is where to go on
        url = None if following is None else f"{api}?{following.partition('?')[2]}"


def _file(entry: Mapping[str, Any], asked: Asked) -> HubFile:
    """Check one file of the listing."""
    path, size, git, lfs = entry["path"], entry.get("size"), entry.get("oid"), entry.get("lfs")
    xet, sha256 = entry.get("xetHash"), None
    try:
        check_path(path)
    except ListingError as error:
        raise SourceError(
            f"{asked}: the Hub lists a file that can't be kept: {error}",
            hint="leave it out with --exclude",
        ) from None
    if lfs is not None:
        oid = lfs.get("oid", lfs.get("sha256")) if isinstance(lfs, dict) else lfs
        try:
            sha256 = parse_digest(oid)
        except ValueError:
            raise _refused(asked, path, "a SHA-256", oid) from None
        size = lfs.get("size", size)
    if type(size) is not int or not 0 <= size < 1 << 63:  # a bool is no size
        raise _refused(asked, path, "a size in bytes", size)
    if not isinstance(git, str) or not _SHA1.fullmatch(git):
        raise _refused(asked, path, "a git blob id", git)
    return HubFile(
        path=path,
        size=size,
        sha256=sha256,
        git_sha1=git,
        xet=xet if xet and is_digest(xet) else None,
    )


def _refused(asked: Asked, path: str, expected: str, found: object) -> SourceError:
    return SourceError(f"{path!r} of {asked.repo!r}: expected {expected}, found {found!r:.90}")


def _check_tree(files: Sequence[HubFile], asked: Asked) -> None:
    """Raise SourceError if two files can't be in one tree; *files* are sorted."""
    paths = {file.path for file in files}
    folders = {""}
    before = None
    for file in files:
        if file.path == before:
            raise SourceError(f"{asked}: the Hub lists {file.path!r} twice")
        before = folder = file.path
        while (folder := folder.rpartition("/")[0]) not in folders:
            folders.add(folder)
            if folder in paths:
                raise SourceError(
                    f"{asked}: the Hub lists {folder!r} as a file and, with {file.path!r},"
                    " as a directory"
                )


def _get(line: Line, url: str, asked: Asked) -> tuple[object, str | None]:
    """Return the JSON that *url* answers, and its link to the next page."""
    patience = Patience(line, asked)
    while True:
        line.pause()
        begin = time.monotonic()
        try:
            body, following = _read(line, url, asked)
        except Fault as fault:
            patience.after(fault, time.monotonic() - begin)
            continue
        try:
            return load_json(body), following
        except ValueError:  # a bomb of brackets, or of digits, too
            raise SourceError(
                f"{asked}: expected JSON from the Hub, found {bytes(body[:40])!r}"
            ) from None


def _read(line: Line, url: str, asked: Asked) -> tuple[bytearray, str | None]:
    import httpx2

    response = line.open(url, asked)
    try:
        body = bytearray()
        pace = Pace(line.limits, asked)
        for data in response.iter_bytes():
            body += data
            if len(body) > line.limits.answer:
                most = line.limits.answer
                raise SourceError(f"{asked}: the Hub's answer has more than {most:,} bytes")
            pace.took(len(data))
        following = _NEXT.search(response.headers.get("link", ""))
        return body, following[1] if following else None
    except httpx2.HTTPError as error:
        raise line.fault(asked, error) from None
    finally:
        line.close(response)

"""What the API says of a repository: the Hub's answers, in the Hub's keys.

Every file is an LFS file here, so its SHA-256 is its ETag, and ``oid`` is that of the pointer
that git would hold. What nobody knows is absent, or null; a commit's date is 1970's first day.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from cas.serve.answers import json_answer, refusal
from cas.serve.guard import header
from cas.serve.route import raw_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.serve.answers import Answer, Scope
    from cas.serve.catalogue import Repository, ServedFile, Snapshot

__all__ = ["commits", "info", "listed", "paths_info", "refs", "tree", "whoami"]

PAGE = 1000  # entries
DATE = "1970-01-01T00:00:00.000Z"
Query = list[tuple[str, str]]


def query_of(scope: Scope) -> Query:
    """Return the pairs of a request's query."""
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def info(repository: Repository, snapshot: Snapshot, query: Query) -> Answer:
    """Answer ``/api/models/ID[/revision/REV]``."""
    found = _head(repository, snapshot)
    blobs = _has(query, "blobs")
    found["siblings"] = [_sibling(file, blobs=blobs) for file in snapshot.files.values()]
    expand = [value for key, value in query if key in ("expand", "expand[]")]
    if expand:
        found = {key: found[key] for key in ("_id", "id", *expand) if key in found}
    elif _has(query, "securityStatus"):
        found["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return json_answer(found)


def listed(repositories: Iterable[Repository], query: Query) -> Answer:
    """Answer ``/api/models``: what of a kind is served; ``search`` and ``author`` choose."""
    asked = dict(query)
    search, author = asked.get("search", "").lower(), asked.get("author")
    found = []
    for one in repositories:
        snapshot = one.at()
        by = one.id.rpartition("/")[0]
        if snapshot and search in one.id.lower() and author in (None, by):
            found.append(_head(one, snapshot))
    return json_answer(found)


def tree(scope: Scope, snapshot: Snapshot, folder: str, base: str) -> Answer:
    """Answer ``…/tree/REV[/PATH]``, 1,000 entries a page; *base* is how we are called."""
    if folder not in snapshot.folders:
        raise refusal(404, f"{folder!r} does not exist", "EntryNotFound", _at(snapshot))
    query = query_of(scope)
    paths = snapshot.paths
    prefix = f"{folder}/" if folder else ""
    if folder:
        paths = [path for path in paths if path.startswith(prefix)]
    if not _has(query, "recursive"):
        paths = [path for path in paths if "/" not in path[len(prefix) :]]
    asked = dict(query)
    try:
        start = int(base64.urlsafe_b64decode(asked.get("cursor", "")) or 0)
        stop = start + max(1, min(PAGE, int(asked.get("limit", PAGE))))
    except ValueError:
        raise refusal(400, "the cursor or the limit is no number") from None
    headers = _at(snapshot)
    if stop < len(paths):
        cursor = base64.urlsafe_b64encode(str(stop).encode()).decode()
        pairs = [*(pair for pair in query if pair[0] != "cursor"), ("cursor", cursor)]
        place = quote(raw_path(scope).decode("latin-1"), safe="/%~!$&'()*+,;=:@")
        headers.append(("Link", f'<{base}{place}?{urlencode(pairs)}>; rel="next"'))
    expand = _has(query, "expand")
    entries = [_entry(snapshot, path, expand=expand) for path in paths[max(0, start) : stop]]
    return json_answer(entries, headers=headers)


def paths_info(scope: Scope, snapshot: Snapshot, body: bytes) -> Answer:
    """Answer ``POST …/paths-info/REV``: those of the asked paths that exist."""
    try:
        if "json" in header(scope, b"content-type"):
            form = json.loads(body)
            paths, expand = form["paths"], bool(form.get("expand"))
            paths = paths if isinstance(paths, list) else [paths]
        else:
            pairs = parse_qsl(body.decode(), keep_blank_values=True)
            paths = [value for key, value in pairs if key in ("paths", "paths[]")]
            expand = any(key == "expand" and value.lower() == "true" for key, value in pairs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refusal(400, "expected a form or JSON with 'paths'") from None
    plain = dict.fromkeys(path.strip("/") for path in paths if isinstance(path, str))
    return json_answer([
        _entry(snapshot, path, expand=expand)
        for path in plain
        if path and (path in snapshot.files or path in snapshot.folders)
    ])  # fmt: skip


def refs(repository: Repository, query: Query) -> Answer:
    """Answer ``…/refs``: ``main``, and what requests name."""
    answer: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    if _has(query, "include_prs"):
        answer["pullRequests"] = []
    groups = {"refs/pr/": "pullRequests", "refs/convert/": "converts", "refs/tags/": "tags"}
    for revision, commit in repository.revisions.items():
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        prefix = next((one for one in groups if ref.startswith(one)), "refs/heads/")
        row = {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
        answer.get(groups.get(prefix, "branches"), []).append(row)
    return json_answer(answer)


def commits(snapshot: Snapshot) -> Answer:
    """Answer ``…/commits/REV``: the locked one, without its history."""
    row = {"id": snapshot.commit, "title": "locked", "message": "", "authors": [], "date": DATE}
    return json_answer([row], headers=[("X-Total-Count", "1")])


def whoami() -> Answer:
    """Answer ``/api/whoami-v2``, which the client asks when a user logs in."""
    token = {"type": "access_token", "accessToken": {"displayName": "cas serve", "role": "read"}}
    user = {"type": "user", "id": "0" * 24, "name": "cas", "fullname": "cas serve"}
    return json_answer({**user, "isPro": False, "orgs": [], "auth": token})


def _head(repository: Repository, snapshot: Snapshot) -> dict[str, Any]:
    access = {one.access for one in snapshot.assets}
    found: dict[str, Any] = {
        "_id": hashlib.sha256(f"{repository.kind} {repository.id}".encode()).hexdigest()[:24],
        "id": repository.id,
        "author": repository.id.rpartition("/")[0] or None,
        "sha": snapshot.commit,
        "private": "private" in access,
        "gated": "auto" if "gated" in access else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "usedStorage": sum(one.size for one in snapshot.assets),
    }
    if repository.kind == "model":
        found["modelId"] = repository.id
    return found


def _sibling(file: ServedFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    oid, length = _pointer(file)
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": length}
    return {"rfilename": file.path, "size": file.size, "blobId": oid, "lfs": lfs}


def _entry(snapshot: Snapshot, path: str, *, expand: bool) -> dict[str, Any]:
    file = snapshot.files.get(path)
    if file:
        oid, length = _pointer(file)
        lfs = {"oid": file.sha256, "size": file.size, "pointerSize": length}
        entry = {"type": "file", "oid": oid, "size": file.size, "path": path, "lfs": lfs}
    else:
        oid = hashlib.sha256(f"{snapshot.commit} {path}".encode()).hexdigest()[:40]
        entry = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if expand:
        entry["lastCommit"] = {"id": snapshot.commit, "title": "locked", "date": DATE}
    return entry


def _pointer(file: ServedFile) -> tuple[str, int]:
    """Return (git's id, bytes) of the pointer that a repository has for an LFS file."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}"
    data = f"{text}\n".encode()
    framed = b"blob %d\0%b" % (len(data), data)
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest(), len(data)


def _at(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [("X-Repo-Commit", snapshot.commit)]


def _has(query: Query, name: str) -> bool:
    return any(key == name and value.lower() not in ("false", "0") for key, value in query)

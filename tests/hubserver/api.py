"""The API: info, tree, paths-info, refs, commits, whoami, auth-check."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from .route import (
    Route,
    Shelf,
    answer_json,
    check_gate,
    check_token,
    find_commit,
    open_repo,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .git import File
    from .repo import Commit, Repo
    from .wire import Reply, Request
    from .xet import Xets

_EXPANDED_PAGE = 50
"""Entries a page of an expanded listing, on the Hub too."""


def answer_api(hub: Shelf, xets: Xets, request: Request, route: Route) -> Reply:
    """Answer one request to the API; raise Refused."""
    if route.verb == "whoami":
        return _whoami(hub, request)
    if not route.verb:
        raise refuse(404, "Sorry, we can't find the page you are looking for.")
    repo = open_repo(hub, request, route)
    post = route.verb == "paths-info"
    if request.method not in (("POST",) if post else ("GET", "HEAD")):
        raise refuse(405, f"Method {request.method} not allowed")
    match route.verb:
        case "info" | "revision":
            return _info(request, repo, route.revision)
        case "tree":
            return _tree(hub, xets, request, repo, route)
        case "paths-info":
            return _paths_info(hub, xets, request, repo, route.revision)
        case "refs":
            return _refs(request, repo)
        case "commits":
            return _commits(hub, request, repo, route.revision)
        case "auth-check":
            check_gate(hub, request, repo)
            return answer_json({})
    raise refuse(404, f"Cannot {request.method} {request.path}")


def _whoami(hub: Shelf, request: Request) -> Reply:
    if not check_token(hub, request):
        raise refuse(401, "Invalid username or password.")
    user = {
        "type": "user",
        "id": "0" * 24,
        "name": "tester",
        "fullname": "Hub Tester",
        "email": "tester@hub.test",
        "isPro": False,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}},
    }
    return answer_json(user)


def _info(request: Request, repo: Repo, revision: str | None) -> Reply:
    # an empty repository has info, but no revision
    commit = None if revision is None and not repo.commits else find_commit(repo, revision)
    sha = commit.sha if commit else None
    created = min((commit.date for commit in repo.commits.values()), default=None)
    info: dict[str, Any] = {
        "_id": hashlib.sha1(repo.url.encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.id.rpartition("/")[0] or None,
        "sha": sha if repo.info_sha is None else repo.info_sha,
        "lastModified": commit.date if commit else None,
        "createdAt": created,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "usedStorage": sum(file.content.size for file in commit.files.values()) if commit else 0,
    }
    if repo.kind == "model":
        info["modelId"] = repo.id
    if repo.kind == "space":
        info["sdk"] = "static"
    expand = [value for key, value in request.query if key in ("expand", "expand[]")]
    if not expand or "siblings" in expand:
        info["siblings"] = list(_siblings(repo, commit, with_blobs=request.has("blobs")))
    if request.has("securityStatus"):
        info["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    if expand:
        info = {key: info[key] for key in ("_id", "id", *expand) if key in info}
    return answer_json(info)


def _siblings(repo: Repo, commit: Commit | None, *, with_blobs: bool) -> Iterable[dict[str, Any]]:
    entries = [_file(path, file) for path, file in commit.files.items()] if commit else []
    for entry in [*entries, *repo.extra]:
        sibling = {"rfilename": entry.get("path")}
        if with_blobs:
            sibling |= {"size": entry.get("size"), "blobId": entry.get("oid")}
            if lfs := entry.get("lfs"):
                sibling["lfs"] = {"sha256" if key == "oid" else key: lfs[key] for key in lfs}
        yield sibling


def _file(path: str, file: File) -> dict[str, Any]:
    entry = {"type": "file", "oid": file.oid, "size": file.content.size, "path": path}
    if file.lfs:
        entry["lfs"] = {
            "oid": file.content.sha256,
            "size": file.content.size,
            "pointerSize": file.pointer_size,
        }
    return entry


def _entry(
    repo: Repo, commit: Commit, path: str, xets: Xets | None, *, expand: bool
) -> dict[str, Any]:
    file = commit.files.get(path)
    if file:
        entry = _file(path, file)
        if file.lfs and xets:
            entry["xetHash"] = xets.keep(repo.id, path, file.content)
    else:
        entry = {"type": "directory", "oid": commit.trees[path], "size": 0, "path": path}
    if expand:
        last = repo.commits.get(_last_change(commit, path), commit)
        entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
        if file:
            entry["securityFileStatus"] = {
                "status": "safe",
                "avScan": {"virusFound": False, "virusNames": None},
                "pickleImportScan": None,
            }
    return entry


def _last_change(commit: Commit, path: str) -> str:
    if path in commit.changed:
        return commit.changed[path]
    inside = {sha for name, sha in commit.changed.items() if name.startswith(f"{path}/")}
    return commit.sha if commit.sha in inside else min(inside)


def _tree(hub: Shelf, xets: Xets, request: Request, repo: Repo, route: Route) -> Reply:
    commit = find_commit(repo, route.revision)
    folder = route.path.strip("/")
    if folder not in commit.trees:
        message = f"{folder} does not exist on {json.dumps(route.revision)}"
        raise refuse(404, message, "EntryNotFound")
    expand = request.has("expand")
    paths: list[str | dict[str, Any]] = []
    paths += commit.list_paths(folder, recursive=request.has("recursive"))
    paths += [] if folder else repo.extra
    size = min(hub.page_size, _EXPANDED_PAGE) if expand else hub.page_size
    start, stop, headers = _page(hub, request, len(paths), size)
    shown = xets if hub.xet else None
    entries = [
        _entry(repo, commit, path, shown, expand=expand) if isinstance(path, str) else path
        for path in paths[start:stop]
    ]
    return answer_json(entries, headers=headers)


def _page(hub: Shelf, request: Request, count: int, size: int) -> tuple[int, int, dict[str, str]]:
    """Return the bounds of the page that *request* asks for, and the link to the next."""
    query = dict(request.query)
    try:
        start = int(base64.urlsafe_b64decode(query.get("cursor", "")) or 0)
        size = min(size, int(query.get("limit", size)))
    except ValueError:
        raise refuse(400, "Invalid cursor or limit") from None
    stop = start + max(1, size)
    if stop >= count:
        return start, count, {}
    cursor = base64.urlsafe_b64encode(str(stop).encode()).decode()
    pairs = [pair for pair in request.query if pair[0] != "cursor"]
    there = hub.next_page or hub.endpoint
    following = f"{there}{request.path}?{urlencode([*pairs, ('cursor', cursor)])}"
    return start, stop, {"Link": f'<{following}>; rel="next"'}


def _paths_info(
    hub: Shelf, xets: Xets, request: Request, repo: Repo, revision: str | None
) -> Reply:
    commit = find_commit(repo, revision)
    if "json" in request.headers.get("content-type", ""):
        form = json.loads(request.body)
        paths, expand = form["paths"], bool(form.get("expand"))
        paths = paths if isinstance(paths, list) else [paths]
    else:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True)
        paths = [value for key, value in pairs if key in ("paths", "paths[]")]
        expand = any(key == "expand" and value.lower() == "true" for key, value in pairs)
    raw = {entry.get("path"): entry for entry in repo.extra}
    shown = xets if hub.xet else None
    entries = []
    for path in paths:
        if path in raw:
            entries.append(raw[path])
        elif path.strip("/") in commit.files or path.strip("/") in commit.trees:
            entries.append(_entry(repo, commit, path.strip("/"), shown, expand=expand))
    return answer_json(entries)


def _refs(request: Request, repo: Repo) -> Reply:
    groups = {
        "branches": "refs/heads/",
        "converts": "refs/convert/",
        "tags": "refs/tags/",
        "pullRequests": "refs/pr/",
    }
    if not request.has("include_prs"):
        del groups["pullRequests"]
    answer: dict[str, list[dict[str, str]]] = {group: [] for group in groups}
    for ref, sha in sorted(repo.refs.items()):
        for group, prefix in groups.items():
            if ref.startswith(prefix):
                name = ref.removeprefix(prefix)
                answer[group].append({"name": name, "ref": ref, "targetCommit": sha})
    return answer_json(answer)


def _commits(hub: Shelf, request: Request, repo: Repo, revision: str | None) -> Reply:
    commits = list(repo.history(find_commit(repo, revision).sha))
    query = dict(request.query)
    number, size = int(query.get("p", 0)), min(50, int(query.get("limit", 50)))
    rows = []
    for commit in commits[number * size : (number + 1) * size]:
        row: dict[str, Any] = {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message.partition("\n")[2].strip(),
            "authors": [{"user": "tester", "avatar": f"{hub.endpoint}/avatars/tester.svg"}],
            "date": commit.date,
        }
        if any(value == "formatted" for _, value in request.query):
            row["formatted"] = {"title": row["title"], "message": row["message"]}
        rows.append(row)
    headers = {"X-Total-Count": str(len(commits))}
    if (number + 1) * size < len(commits):
        pairs = [pair for pair in request.query if pair[0] != "p"]
        following = f"{request.path}?{urlencode([*pairs, ('p', number + 1)])}"
        headers["Link"] = f'<{hub.endpoint}{following}>; rel="next"'
    return answer_json(rows, headers=headers)

"""Writes: repositories are made and committed to, as ``push_to_hub`` does it.

LFS files are put to ``/lfs-upload/<sha256>`` first, the others come inside their commit. Xet
is not offered for uploads: set ``HF_HUB_DISABLE_XET``.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from .route import KINDS, answer_json, check_token, refuse

if TYPE_CHECKING:
    from .hub import Hub
    from .wire import Reply, Request


def answer_write(hub: Hub, request: Request) -> Reply | None:
    """Answer a request that writes, or return None if it is none; raise Refused."""
    parts = request.segments
    if request.method == "PUT" and parts[0] == "lfs-upload":
        hub.uploads[parts[1]] = request.body
        return answer_json({})
    if request.method != "POST":
        return None
    if parts == ["api", "validate-yaml"]:
        return answer_json({"errors": [], "warnings": []})
    if parts == ["api", "repos", "create"]:
        _check(hub, request)
        return _create(hub, json.loads(request.body))
    if parts[-4:] == ["info", "lfs", "objects", "batch"]:
        _check(hub, request)
        rows = [
            {**row, "actions": {"upload": {"href": f"{hub.endpoint}/lfs-upload/{row['oid']}"}}}
            for row in json.loads(request.body)["objects"]
        ]
        return answer_json({"transfer": "basic", "objects": rows})
    if len(parts) == 6 and parts[1] in KINDS and parts[4] in ("preupload", "commit"):
        _check(hub, request)
        repo = hub.repos.get((KINDS[parts[1]], f"{parts[2]}/{parts[3]}"))
        if repo is None:
            raise refuse(404, "Repository not found", "RepoNotFound")
        if parts[4] == "preupload":
            asked = json.loads(request.body)["files"]
            modes = [
                {"path": one["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if repo.takes_as_lfs(one["path"]) else "regular"}
                for one in asked
            ]  # fmt: skip
            return answer_json({"files": modes})
        return _commit(hub, repo, parts[5], request.body)
    return None


def _check(hub: Hub, request: Request) -> None:
    if not check_token(hub, request):
        raise refuse(401, "Invalid username or password.")


def _create(hub: Hub, asked: dict[str, Any]) -> Reply:
    kind = asked.get("type") or "model"
    name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
    url = f"{hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
    if (kind, name) in hub.repos:
        return answer_json({"error": "You already created this repo", "url": url}, 409)
    hub.repo(name, kind).commit({".gitattributes": b""}, "initial commit")
    return answer_json({"url": url, "name": name, "id": "0" * 24})


def _commit(hub: Hub, repo: Any, branch: str, body: bytes) -> Reply:
    files, gone, title = {}, [], "update"
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            title = value["summary"]
        elif entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            files[value["path"]] = hub.uploads[value["oid"]]
        elif entry["key"] == "deletedFile":
            gone.append(value["path"])
    sha = repo.commit(files, title, branch=branch, delete=gone)
    url = f"{hub.endpoint}/{repo.url}/commit/{sha}"
    return answer_json({"success": True, "commitOid": sha, "commitUrl": url})

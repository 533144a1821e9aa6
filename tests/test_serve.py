"""`cas serve`: the Hub's protocol over what is locked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import socket
import time
from urllib.parse import quote, urlencode

import pytest

from cas.project import Project
from cas.serve.app import application
from cas.serve.catalogue import Catalogue
from cas.serve.server import background
from tests.serving import FIRST, SECOND, ask, lab, serving

TOKEN = "hf_test"  # the Hub's, so that it says 404 and not 401 of what it does not have


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("serve")) as made, pytest.MonkeyPatch.context() as patch:
        for name in ("CAS_STORE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, made.env[name])
        yield made


@pytest.fixture(scope="module")
def url(here):
    with background(application(Catalogue.of_project(Project(str(here.project))))) as server:
        yield f"http://127.0.0.1:{server.port}"


DATA = "/api/datasets/org/data"
FILE = "/datasets/org/data/resolve/main/data/train.txt"
SAME = {
    "info": DATA,
    "info with blobs": f"{DATA}?blobs=true",
    "info of main": f"{DATA}/revision/main",
    "info of a tag": f"{DATA}/revision/v1",
    "parts of an info": f"{DATA}?expand=sha&expand=gated",
    "tree": f"{DATA}/tree/main",
    "whole tree": f"{DATA}/tree/main?recursive=true",
    "tree of a folder": f"{DATA}/tree/main/deep",
    "tree of a folder below": f"{DATA}/tree/main/deep/a?recursive=1",
    "a page": f"{DATA}/tree/main?recursive=true&limit=3",
    "the next page": f"{DATA}/tree/main?recursive=true&limit=3&cursor=Mw%3D%3D",
    "no folder": f"{DATA}/tree/main/nowhere",
    "no revision": f"{DATA}/tree/nowhere",
    "no revision of an info": f"{DATA}/revision/nowhere",
    "no repository": "/api/datasets/org/nowhere",
    "no repository with a tree": "/api/models/org/nowhere/tree/main",
    "access": f"{DATA}/auth-check",
    "a file": FILE,
    "a file of a tag": "/datasets/org/data/resolve/v1/README.md",
    "an empty file": "/datasets/org/data/resolve/main/empty.txt",
    "no file": "/datasets/org/data/resolve/main/nowhere",
    "no file's revision": "/datasets/org/data/resolve/nowhere/README.md",
    "no file's repository": "/datasets/org/nowhere/resolve/main/README.md",
    "no page": "/api/nothing/of/that",
}


def _plain(entries):
    """Leave out the ids of directories, which only a repository's own git knows."""
    if not isinstance(entries, list):
        return {k: v for k, v in entries.items() if k not in UNKNOWN}
    return [{k: v for k, v in e.items() if k != "oid" or e["type"] == "file"} for e in entries]


UNKNOWN = ("_id", "createdAt", "lastModified", "error")


def _compare(ours, theirs):
    assert ours.status == theirs.status
    assert ours.code == theirs.code
    for name in ("x-repo-commit", "x-linked-size", "x-linked-etag", "content-range"):
        if name in theirs.headers:
            assert ours.headers.get(name) == theirs.headers[name], name
    if "json" in theirs.headers.get("content-type", ""):
        if theirs.status == 200:
            assert _plain(ours.json) == _plain(theirs.json)
        link = theirs.headers.get("link", "").partition("/api")[2]
        assert ours.headers.get("link", "").partition("/api")[2] == link
    elif theirs.status < 400:
        assert ours.body == theirs.body
        assert ours.headers["content-length"] == theirs.headers["content-length"]


@pytest.mark.parametrize("question", SAME)
def test_the_answer_is_the_hubs(here, url, question):
    bearer = f"Bearer {TOKEN}"
    theirs = ask(here.hub.endpoint, SAME[question], Authorization=bearer)
    _compare(ask(url, SAME[question], Authorization=bearer), theirs)
    head = ask(here.hub.endpoint, SAME[question], "HEAD", Authorization=bearer)
    assert ask(url, SAME[question], "HEAD").status == head.status


@pytest.mark.parametrize("wanted", ["0-0", "5-9", "100-", "-7", "0-999999", "999999-", "-0"])
def test_a_range_is_the_hubs(here, url, wanted):
    theirs = ask(here.hub.endpoint, FILE, Range=f"bytes={wanted}")
    _compare(ask(url, FILE, Range=f"bytes={wanted}"), theirs)


@pytest.mark.parametrize("wanted", ["5-2", "x", "0-1,3-4", "-"])
def test_what_is_no_range_gives_the_whole_file(url, wanted):
    reply = ask(url, FILE, Range=f"bytes={wanted}")
    assert (reply.status, reply.body) == (200, SECOND["data/train.txt"])


def test_every_file_comes_whole_without_a_redirect_its_etag_its_sha256(url):
    for path, data in SECOND.items():
        place = f"/datasets/org/data/resolve/main/{quote(path)}"
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        reply = ask(url, place, follow=False)
        assert (reply.status, reply.body, reply.headers["etag"]) == (200, data, etag)
        head = ask(url, place, "HEAD", follow=False)
        assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
        assert ask(url, place, If_None_Match=etag).status == 304
        changed = ask(url, place, Range="bytes=1-", If_Range='"other"')
        assert (changed.status, changed.body) == (200, data)


def test_paths_info_answers_for_what_is_there(here, url):
    wanted = ["README.md", "deep", "nowhere", "odd/données…😀.txt"]
    form = urlencode([("paths", path) for path in wanted])
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    theirs = ask(here.hub.endpoint, f"{DATA}/paths-info/main", "POST", form, **kind)
    ours = ask(url, f"{DATA}/paths-info/main", "POST", form, **kind)
    assert _plain(ours.json) == _plain(theirs.json)
    assert [row["path"] for row in ours.json] == ["README.md", "deep", "odd/données…😀.txt"]
    expanded = ask(url, f"{DATA}/paths-info/main", "POST", f"{form}&expand=true", **kind).json
    assert expanded[0]["lastCommit"]["id"] == here.second
    for body in (b"\xff", b"[" * 100_000, b'{"paths": 1'):
        reply = ask(url, f"{DATA}/paths-info/main", "POST", body, Content_Type="application/json")
        assert reply.status == 400
    assert ask(url, f"{DATA}/paths-info/main", "POST", b"x" * (9 << 20)).status == 413


def test_refs_and_commits_are_what_is_locked(here, url):
    assert ask(url, f"{DATA}/refs").json == {
        "branches": [
            {"name": "main", "ref": "refs/heads/main", "targetCommit": here.second},
            {"name": "v1", "ref": "refs/heads/v1", "targetCommit": here.first},
        ],
        "converts": [],
        "tags": [],
    }
    assert ask(url, f"{DATA}/refs?include_prs=1").json["pullRequests"] == []
    assert [row["id"] for row in ask(url, f"{DATA}/commits/v1").json] == [here.first]


def test_a_pages_link_leads_on_to_the_end_and_back_through_tls(url):
    paths, at = [], f"{DATA}/tree/main?recursive=1&limit=4"
    while at:
        reply = ask(url, at, X_Forwarded_Proto="https")
        paths += [row["path"] for row in reply.json]
        link = reply.headers.get("link", "")
        assert not link or link.startswith(f"<https{url.removeprefix('http')}/")
        at = link.partition(url.removeprefix("http"))[2].partition(">")[0]
    assert len(paths) == len(set(paths))
    assert set(SECOND) <= set(paths)


def test_revisions_are_main_the_requests_own_and_the_locked_commits(here, url):
    def sha(revision, name="org/data"):
        return ask(url, f"/api/datasets/{name}/revision/{revision}").json.get("sha")

    assert sha("main") == sha(here.second) == sha(here.second[:7]) == here.second
    assert sha("v1") == sha(here.first[:10]) == sha("v1", "org/data_v1") == here.first
    assert sha("main", "org/data_v1") == here.first
    for revision in (here.second[:6], "main2", "0" * 40, "", "refs%2Fheads%2Fx", "%00"):
        reply = ask(url, f"/api/datasets/org/data/revision/{revision}x")
        assert reply.code == "RevisionNotFound" or reply.status == 400
    body = ask(url, f"/datasets/org/data/resolve/{here.first}/README.md").body
    assert body == FIRST["README.md"]


def test_every_kind_of_asset_has_its_id(here, url):
    lock = here.lock()
    assert ask(url, "/api/models/gpt2").json["id"] == "openai-community/gpt2"
    assert ask(url, "/api/models/openai-community/gpt2").json["sha"] == here.gpt2
    tree = lock["tokenizers/mine"]["tree"]
    assert ask(url, "/api/models/tokenizers/mine").json["sha"] == tree[3:43]
    assert ask(url, "/tokenizers/mine/resolve/main/tokenizer.json").body == b"{}"
    assert ask(url, "/m.pt/resolve/main/m.pt").body == b"weights"
    assert ask(url, "/api/models/one/two/three").status == 404
    assert ask(url, "/api/datasets/gpt2").code == "RepoNotFound"
    assert ask(url, "/api/spaces/org/data").code == "RepoNotFound"
    names = {row["id"] for row in ask(url, "/api/models").json}
    assert names == {"openai-community/gpt2", "m.pt", "org/part", "part_b", "tokenizers/mine"}
    found = ask(url, "/api/datasets?search=DATA&author=org").json
    assert [(row["id"], row["sha"]) for row in found] == [
        ("org/data", here.second),
        ("org/data_v1", here.first),
    ]
    assert ask(url, "/api/datasets?author=nobody").json == []


def test_assets_of_one_commit_are_one_repository_of_all_their_files(url):
    def paths(name):
        return [row["path"] for row in ask(url, f"/api/models/{name}/tree/main").json]

    assert paths("org/part") == ["a.txt", "b.txt"]
    assert paths("part_b") == ["b.txt"]
    assert ask(url, "/org/part/resolve/main/b.txt").body == b"b"
    assert ask(url, "/org/part/resolve/main/c.txt").code == "EntryNotFound"


ESCAPES = [
    "/gpt2/resolve/main/../../../../etc/passwd",
    "/gpt2/resolve/main/%2e%2e/%2e%2e/etc/passwd",
    "/gpt2/resolve/main/..%2f..%2fetc/passwd",
    "/gpt2/resolve/main//etc/passwd",
    "/gpt2/resolve/main/a%00b",
    "/gpt2/resolve/main/a%0d%0aX-Evil:1",
    "/gpt2/resolve/main/..%5cetc",
    "/gpt2/resolve/main/%ff",
    "/api/models/gpt2/tree/main/../../..",
    "/api/models/../gpt2",
    "/datasets/../gpt2/resolve/main/config.json",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_escapes_is_refused(url, path):
    reply = ask(url, path)
    assert reply.status == 400
    assert "x-evil" not in reply.headers
    assert b"root:" not in reply.body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_is_read_only(here, url, method):
    before = here.lock()
    for path in ("/api/models/gpt2", "/api/repos/create", f"{DATA}/commit/main", FILE, "/"):
        reply = ask(url, path, method, b"{}")
        assert reply.status == 405
        assert reply.headers["allow"] == "GET, HEAD"
    assert ask(url, f"{DATA}/paths-info/main").headers["allow"] == "POST"
    assert here.lock() == before


def test_a_foreign_host_is_refused(url):
    for name in ("evil.example", "127.0.0.1.evil.example", "", "[::2]"):
        assert ask(url, "/api/models/gpt2", Host=name).status == 421, name
    for name in ("localhost:9", "LOCALHOST", "127.0.0.1", "[::1]:80"):
        assert ask(url, "/api/models/gpt2", Host=name).status == 200, name


# The catalogue


def test_a_lock_that_changes_is_read_again_and_one_that_breaks_is_not(here, url):
    place = here.project / "assets.lock"
    whole = place.read_text()
    blocks = whole.split("\n[[asset]]\n")
    without = "\n[[asset]]\n".join(one for one in blocks if '"models/m.pt"' not in one)
    try:
        place.write_text(without)
        assert ask(url, "/api/models/m.pt").code == "RepoNotFound"
        assert ask(url, "/api/models/gpt2").status == 200
        place.write_text(f"<<<<<<< HEAD\n{without}")
        assert ask(url, "/api/models/gpt2").status == 200
        assert ask(url, "/api/models/m.pt").code == "RepoNotFound"
    finally:
        place.write_text(whole)
    assert ask(url, "/api/models/m.pt").status == 200


def test_what_is_not_here_is_refused_until_it_comes(here, url):
    digest = here.lock()["models/m.pt"]["tree"][3:]
    tree = here.place / f"store/trees/{digest[:2]}/{digest[2:]}"
    aside = tree.with_name("aside")
    tree.rename(aside)
    try:
        assert ask(url, "/m.pt/resolve/main/m.pt").status == 503
        with background(application(Catalogue.of_project(Project(str(here.project))))) as fresh:
            again = f"http://127.0.0.1:{fresh.port}"
            reply = ask(again, "/api/models/m.pt")
            assert (reply.status, reply.code) == (404, "RepoNotFound")
            assert "cas pull models/m.pt" in reply.headers["x-error-message"]
            aside.rename(tree)
            assert ask(again, "/m.pt/resolve/main/m.pt").body == b"weights"
    finally:
        if aside.exists():
            aside.rename(tree)


def test_damage_is_not_given_out(here, url):
    digest = here.lock()["models/m.pt"]["tree"][3:]
    tree = here.place / f"store/trees/{digest[:2]}/{digest[2:]}"
    mark = tree.with_name(f"{tree.name}.bad")
    assert ask(url, "/m.pt/resolve/main/m.pt").status == 200
    mark.write_text("damage")
    try:
        reply = ask(url, "/m.pt/resolve/main/m.pt")
        assert reply.status == 503
        assert "cas verify models/m.pt --repair" in reply.headers["x-error-message"]
        with background(application(Catalogue.of_project(Project(str(here.project))))) as fresh:
            again = f"http://127.0.0.1:{fresh.port}"  # one that began after it was found
            assert ask(again, "/m.pt/resolve/main/m.pt").status == 503
            mark.unlink()
            assert ask(again, "/m.pt/resolve/main/m.pt").body == b"weights"
    finally:
        mark.unlink(missing_ok=True)
    file = tree / "m.pt"
    os.chmod(file, 0o644)
    file.write_bytes(b"weight")
    try:
        assert ask(url, "/m.pt/resolve/main/m.pt").status == 503
    finally:
        file.write_bytes(b"weights")
        os.chmod(file, 0o444)


# The command


def test_a_token_is_asked_for_and_never_said(here):
    with serving(here, CAS_SERVE_TOKEN="s3cret-word") as (url, process):
        for given in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret-word"},
        ):
            reply = ask(url, "/api/models/gpt2", **given)
            assert (reply.status, reply.code) == (401, None)
            assert "\\" not in reply.headers["x-error-message"]
            assert ask(url, "/gpt2/resolve/main/config.json", **given).status == 401
        good = {"Authorization": "Bearer s3cret-word"}
        assert ask(url, "/api/models/gpt2", **good).status == 200
        assert ask(url, "/api/whoami-v2", **good).json["name"] == "cas"
    assert "s3cret-word" not in "".join(process.said)
    said = here.cas("serve", code=2, CAS_SERVE_TOKEN="two words").stderr
    assert "two words" not in said


def test_off_loopback_without_a_token_it_warns_and_keeps_what_is_gated(here):
    place = here.project / "assets.lock"
    whole = place.read_text()
    gated = whole.replace(
        f'commit = "{here.gpt2}"\n', f'commit = "{here.gpt2}"\naccess = "gated"\n'
    )
    gated = gated.replace('name = "models/m.pt"\n', 'name = "models/m.pt"\naccess = "private"\n')
    assert gated.count("access") == 2
    place.write_text(gated)
    try:
        with serving(here, "--host", "0.0.0.0") as (url, process):
            local = f"http://127.0.0.1:{url.rpartition(':')[2]}"
            said = "".join(process.said)
            assert "anybody who reaches this port" in said
            assert "'models/gpt2', 'models/m.pt'" in said
            for path in ("/api/models/gpt2", "/gpt2/resolve/main/config.json"):
                reply = ask(local, path)
                assert (reply.status, reply.code) == (401, "GatedRepo")
            for path in ("/api/models/m.pt", "/m.pt/resolve/main/m.pt"):
                reply = ask(local, path)
                assert (reply.status, reply.code) == (404, "RepoNotFound")
            shown = [row["id"] for row in ask(local, "/api/models").json]
            assert shown == ["org/part", "part_b", "tokenizers/mine"]
            assert ask(local, DATA).status == 200
        with serving(here, "--host", "0.0.0.0", CAS_SERVE_TOKEN="t") as (url, _):
            local = f"http://127.0.0.1:{url.rpartition(':')[2]}"
            assert ask(local, "/api/models/gpt2", Authorization="Bearer t").json["gated"] == "auto"
        with serving(here) as (url, _):
            assert ask(url, "/m.pt/resolve/main/m.pt").body == b"weights"
    finally:
        place.write_text(whole)


def test_all_serves_every_project_of_the_store_this_ones_first(here, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "m.pt").write_text("other")
    (other / "n.pt").write_text("n")
    here.cas("init", cwd=other)
    here.cas("add", "./m.pt", cwd=other)
    here.cas("add", "./n.pt", cwd=other)
    here.cas("add", "dataset:org/data", cwd=other)
    here.cas("add", "dataset:org/data", "--revision", "v1", "--name", "datasets/a", cwd=other)
    with serving(here, "--all", "--allow-host", "head.lab") as (url, _):
        assert ask(url, "/m.pt/resolve/main/m.pt", Host="head.lab:80").body == b"weights"
        assert ask(url, "/n.pt/resolve/main/n.pt").body == b"n"
        assert ask(url, DATA).json["sha"] == here.second
        assert ask(url, f"{DATA}/revision/v1").json["sha"] == here.first
        assert ask(url, "/api/datasets/a").json["sha"] == here.first
        shutil.rmtree(other)
        assert ask(url, DATA).status == 200
    with serving(here, "--all", cwd=tmp_path, CAS_PROJECT="") as (url, _):
        assert ask(url, "/m.pt/resolve/main/m.pt").body == b"weights"
    outside = here.cas("serve", code=1, cwd=tmp_path).stderr
    assert "cas: hint: cas init; or: cas serve --all" in outside


def test_it_stops_at_once_and_says_what_it_serves(here):
    with serving(here, "--json", code=130) as (url, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert f'"url": "{url}"' in process.stdout.read()
    with serving(here) as (url, _):
        port = url.rpartition(":")[2]
        assert "--port 0" in here.cas("serve", "--port", port, code=1).stderr
    assert "is no address" in here.cas("serve", "--host", "nowhere.invalid", code=1).stderr
    elsewhere = here.cas("serve", "--host", "192.0.2.77", code=1).stderr  # RFC 5737: nobody's
    assert "cas: hint: cas serve --host 0.0.0.0" in elsewhere
    here.cas("serve", "--port", "70000", code=2)


def test_large_forms_of_many_clients_are_bounded(url):
    """Each may have 8 MiB, and thousands may come: few are held at once, small ones always."""
    port = int(url.rpartition(":")[2])
    head = (f"POST {DATA}/paths-info/main HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Length: 1000000\r\n\r\n")  # fmt: skip
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
                 for _ in range(20)]  # fmt: skip
        for line in lines:
            line.sendall(head.encode() + b"paths=" + bytes(500_000))
        refused: list[socket.socket] = []
        end = time.monotonic() + 60
        while len(refused) < 12 and time.monotonic() < end:
            refused = select.select(lines, [], [], 1)[0]
        assert [line.recv(12) for line in refused] == [b"HTTP/1.1 503"] * 12
        small = ask(url, f"{DATA}/paths-info/main", "POST", body=b"paths=README.md")
        assert [entry["path"] for entry in small.json] == ["README.md"]
    twice = ask(url, f"{DATA}/paths-info/main", "POST", body=b"paths=README.md&" * 1000)
    assert len(twice.json) == 1


def test_a_log_moves_no_terminals_cursor(here):
    with serving(here, "-v", code=130) as (url, process):
        assert ask(url, "/%1b%5b31m%0acas:%20error").status == 400
        process.send_signal(signal.SIGINT)
        process.wait(60)
    said = "".join(process.said)
    assert "/%1b%5b31m" in said
    assert "\x1b" not in said

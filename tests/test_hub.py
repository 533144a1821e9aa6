"""The Hub, against a real server: names, listings, bytes, and all that goes wrong on the way."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from cas import hub as cas_hub
from cas.errors import AccessDenied, CasError, IntegrityError, Offline, SourceError
from cas.hub import ConnectionLost, HubFile, Limits, NotOnHub, Stopped, fetch, fetch_many, resolve
from tests.hubserver import Hub, random_pieces

ROOT = Path(__file__).resolve().parents[1]
FAST = Limits(
    connect=2, silence=0.4, slow_time=0.5, backoff=0.01, backoff_most=0.05, patience=20, quota=5
)
SMALL = b"".join(random_pieces("small", 40_000))
LARGE = b"".join(random_pieces("large", 300_000))
BOTH = {"a.txt": SMALL, "b.bin": LARGE}


@pytest.fixture
def login(monkeypatch, tmp_path):
    """Set or remove the token of this process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return lambda token: monkeypatch.setenv("HF_TOKEN", token)


@pytest.fixture
def hub(monkeypatch, login):
    from huggingface_hub import constants

    with Hub() as server:
        # HF_ENDPOINT is read when huggingface_hub is imported, perhaps by another test
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody knows, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *name, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class Held:
    """A sink in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.data, self.restarts = bytearray(data), 0

    @property
    def offset(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        self.data += data

    def restart(self) -> None:
        self.data.clear()
        self.restarts += 1


class Count:
    """A progress callback that adds up."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, count: int) -> None:
        self.calls.append(count)

    @property
    def total(self) -> int:
        return sum(self.calls)


def get(snapshot, path: str) -> HubFile:
    return next(file for file in snapshot.files if file.path == path)


def both(hub, **options):
    hub.repo("o/n", "dataset", **options).commit(BOTH)
    snapshot = resolve("dataset", "o/n", None, limits=FAST)
    hub.reset_log()
    return snapshot


# --- names -----------------------------------------------------------------------------------


@pytest.fixture
def history(hub):
    repo = hub.repo("o/n", "dataset")
    first = repo.commit({"a.txt": b"one"})
    repo.tag("v1", first)
    repo.branch("fix/some thing", first)
    repo.pull_request(1, first)
    second = repo.commit({"a.txt": b"two", "b.txt": b"new"})
    return repo, first, second


@pytest.mark.parametrize("revision", ["v1", "fix/some thing", "refs/pr/1", "full", "short"])
def test_every_kind_of_revision_becomes_its_commit(hub, history, revision):
    _, first, _ = history
    revision = {"full": first, "short": first[:8]}.get(revision, revision)
    snapshot = resolve("dataset", "o/n", revision, limits=FAST)
    assert snapshot.commit == first
    assert [file.path for file in snapshot.files] == ["a.txt"]
    assert hub.count() == 2  # the info, one page of the listing


def test_no_revision_is_the_default_branch_as_it_is_now(hub, history):
    repo, first, second = history
    assert resolve("dataset", "o/n", None, limits=FAST).commit == second
    third = repo.commit({"c.txt": b"three"})
    assert resolve("dataset", "o/n", "main", limits=FAST).commit == third
    assert resolve("dataset", "o/n", first, limits=FAST).commit == first  # and no stale cache


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_models_datasets_and_spaces_are_resolved_and_fetched(hub, kind):
    sha = hub.repo("o/n", kind).commit({"a b+c%.txt": SMALL, "deep/er/é.bin": LARGE})
    snapshot = resolve(kind, "o/n", None, limits=FAST)
    assert (snapshot.kind, snapshot.repo, snapshot.commit) == (kind, "o/n", sha)
    for path, data in (("a b+c%.txt", SMALL), ("deep/er/é.bin", LARGE)):
        fetch(snapshot, get(snapshot, path), sink := Held(), limits=FAST)
        assert sink.data == data


def test_a_file_carries_the_hashes_that_the_hub_has(hub):
    snapshot = both(hub)
    small, large = snapshot.files
    blob = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    assert small == HubFile(path="a.txt", size=40_000, sha256=None, git_sha1=blob, xet=None)
    assert (large.size, large.sha256) == (300_000, hashlib.sha256(LARGE).hexdigest())


def test_a_listing_of_many_pages_is_read_to_its_end_and_sorted(hub):
    hub.page_size = 7
    names = {f"{'abc'[n % 3]}/{n}.txt": b"%d" % n for n in range(50)} | {"a!": b"", "é": b""}
    hub.repo("o/n").commit(names)
    snapshot = resolve("model", "o/n", None, limits=FAST)
    assert [file.path for file in snapshot.files] == sorted(names, key=str.encode)
    pages = -(-(len(names) + 3) // 7)  # directories are entries too
    assert hub.count() == 1 + pages


def test_a_renamed_repository_is_known_by_the_hubs_own_name(hub):
    hub.repo("openai-community/gpt2").commit({"a.txt": SMALL})
    hub.redirect("gpt2", "openai-community/gpt2")
    snapshot = resolve("model", "gpt2", None, limits=FAST)
    assert snapshot.repo == "openai-community/gpt2"
    hub.reset_log()
    fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    assert [record.status for record in hub.log] == [200]


PATTERNS = [
    (["*.json"], []),
    (["data/"], []),
    (["data/*.txt", "README.md"], ["*1*"]),
    ([], ["*.json", "data/"]),
    (["[a-c]*"], []),
    (["DATA/*", "*"], []),
    (["data\\*"], ["?.json"]),
]


@pytest.mark.parametrize(("include", "exclude"), PATTERNS)
def test_patterns_choose_what_huggingface_hub_would_choose(hub, include, exclude):
    from huggingface_hub.utils import filter_repo_objects

    names = ["README.md", "a.json", "b.json", "data/1.txt", "data/x/2.txt", "data/c.json", "c d"]
    hub.repo("o/n").commit(dict.fromkeys([*names, "DATA/y"], b"x"))
    snapshot = resolve("model", "o/n", None, include=include, exclude=exclude, limits=FAST)
    wanted = filter_repo_objects(
        sorted([*names, "DATA/y"]), allow_patterns=include or None, ignore_patterns=exclude
    )
    assert [file.path for file in snapshot.files] == list(wanted)


def test_what_git_and_the_client_keep_at_the_root_is_left_out(hub):
    hub.repo("o/n").commit({".gitattributes": b"x", "a/.gitattributes": b"x", "b": b"x"})
    hub.add_listing_paths(hub.repos["model", "o/n"], [".git/config", ".cache/huggingface/x"])
    paths = [file.path for file in resolve("model", "o/n", None, limits=FAST).files]
    assert paths == ["a/.gitattributes", "b"]
    with pytest.raises(SourceError, match="no file fits"):
        resolve("model", "o/n", None, include=[".gitattributes"], limits=FAST)


def test_an_include_that_fits_nothing_is_an_error_with_the_near_names(hub):
    hub.repo("o/n").commit({"model.safetensors": b"x", "merges.txt": b"x", "other": b"x"})
    include = ["*.txt", "models.safetensor"]
    with pytest.raises(SourceError, match=r"'models\.safetensor'") as caught:
        resolve("model", "o/n", None, include=include, limits=FAST)
    assert "*.txt" not in str(caught.value)
    assert "'model.safetensors'" in (caught.value.hint or "")


def test_the_kinds_of_a_name_take_two_requests_or_three(hub):
    for kind in ("model", "dataset"):
        hub.repo("o/two", kind).commit({"a": b""})
    hub.repo("o/data", "dataset", gated=True).commit({"a": b""})
    hub.repo("o/app", "space").commit({"a": b""})
    found = {name: cas_hub.kinds_of(name, limits=FAST) for name in ("o/two", "o/data", "o/app")}
    assert found == {"o/two": ["model", "dataset"], "o/data": ["dataset"], "o/app": ["space"]}
    assert hub.count() == 2 + 2 + 3
    assert cas_hub.kinds_of("o/none", limits=FAST) == []
    hub.fault("status", path="/api/datasets/o/data", status=403, code="GatedRepo")
    assert cas_hub.kinds_of("o/data", limits=FAST) == ["dataset"]
    hub.fault("status", path="/api/datasets/o/data", status=403)
    with pytest.raises(AccessDenied):
        cas_hub.kinds_of("o/data", limits=FAST)


# --- access ----------------------------------------------------------------------------------


def test_a_gated_repository_needs_a_token_that_was_let_in(hub, login):
    hub.repo("o/gated", gated=True).commit(BOTH)
    hub.repo("o/closed", gated=True, allowed=False).commit(BOTH)
    opened = resolve("model", "o/gated", None, limits=FAST)  # who may not read may list
    closed = resolve("model", "o/closed", None, limits=FAST)
    assert (opened.access, closed.access) == ("gated", "gated")
    with pytest.raises(
        AccessDenied, match=r"'b\.bin' of 'o/gated': the repository is gated"
    ) as caught:
        fetch(opened, get(opened, "b.bin"), Held(), limits=FAST)
    assert caught.value.exit_code == 4
    assert f"{hub.endpoint}/o/gated" in caught.value.hint
    assert "hf auth login" in caught.value.hint
    login("hf_test")
    fetch(opened, get(opened, "b.bin"), sink := Held(), limits=FAST)
    assert sink.data == LARGE
    with pytest.raises(AccessDenied, match="gated"):
        fetch(closed, get(closed, "b.bin"), Held(), limits=FAST)
    login("hf_wrong")
    with pytest.raises(AccessDenied, match="401"):
        fetch(opened, get(opened, "b.bin"), Held(), limits=FAST)


def test_a_private_repository_is_unknown_without_a_token(hub, login):
    hub.repo("o/mine", private=True).commit(BOTH)
    with pytest.raises(NotOnHub) as caught:
        resolve("model", "o/mine", None, limits=FAST)
    assert (caught.value.what, caught.value.exit_code) == ("repository", 1)
    assert "hf auth login" in caught.value.hint
    assert "dataset:o/mine" in caught.value.hint
    login("hf_test")
    assert resolve("model", "o/mine", None, limits=FAST).access == "private"


def test_a_refusal_without_a_code_is_an_access_error(hub):
    hub.bare_401 = True
    with pytest.raises(AccessDenied, match="401"):
        resolve("model", "o/none", None, limits=FAST)
    hub.bare_401 = False
    hub.fault("status", status=403, on="api")
    with pytest.raises(AccessDenied, match="403"):
        resolve("model", "o/none", None, limits=FAST)
    assert hub.count() == 2  # a refusal is not tried again


def test_the_token_goes_to_the_hubs_own_origin_only(hub, login):
    login("hf_test")
    snapshot = both(hub, private=True)
    for file in snapshot.files:
        fetch(snapshot, file, Held(), limits=FAST)
    assert [r.authorization for r in hub.requests(origin="api")] == [True, True]
    assert [r.authorization for r in hub.requests(origin="cdn")] == [False]
    # nor after a way round by another origin
    back = f"{hub.endpoint}/datasets/o/n/resolve/{snapshot.commit}/a.txt"
    hub.fault("status", status=302, headers={"Location": hub.cdn_endpoint + "/x"}, on="resolve")
    hub.fault("status", status=302, headers={"Location": back}, on="cdn")
    hub.reset_log()
    fetch(snapshot, get(snapshot, "a.txt"), Held(), limits=FAST)
    assert [r.authorization for r in hub.log] == [True, False, False, True]


def test_a_token_with_strange_characters_is_never_shown(hub, login):
    login("hf_secret\x01thing")
    with pytest.raises(AccessDenied, match="characters") as caught:
        resolve("model", "o/n", None, limits=FAST)
    assert "secret" not in f"{caught.value!r} {caught.value.hint}"
    assert hub.count() == 0


def test_messages_hold_no_signature_and_no_token(hub, login):
    login("hf_test")
    snapshot = both(hub)
    hub.link_seconds = -5  # every signed URL has expired: no word about access
    with pytest.raises(SourceError, match="answered 403") as caught:
        fetch(snapshot, get(snapshot, "b.bin"), Held(), limits=FAST)
    assert not isinstance(caught.value, AccessDenied)
    message = {"X-Error-Message": "see https://u:pw@h/x?Signature=abc for hf_test"}
    hub.fault("status", status=400, headers=message, on="resolve")
    with pytest.raises(SourceError, match="answered 400") as other:
        fetch(snapshot, get(snapshot, "a.txt"), Held(), limits=FAST)
    for text in (str(caught.value), str(other.value)):
        assert not any(secret in text for secret in ("Signature", "hf_test", "pw@", "?"))


@pytest.mark.parametrize(("revision", "what"), [("none", "revision"), ("0" * 40, "revision")])
def test_a_missing_revision_is_told_from_a_missing_repository(hub, history, revision, what):
    with pytest.raises(NotOnHub, match=revision) as caught:
        resolve("dataset", "o/n", revision, limits=FAST)
    assert caught.value.what == what
    with pytest.raises(NotOnHub) as caught:
        resolve("model", "o/n", None, limits=FAST)
    assert caught.value.what == "repository"


def test_a_commit_or_a_file_that_is_gone_says_so(hub):
    repo = hub.repo("o/n")
    repo.commit({"a.txt": SMALL})
    snapshot = resolve("model", "o/n", None, limits=FAST)
    ghost = HubFile(path="ghost", size=3, sha256=None, git_sha1="0" * 40, xet=None)
    with pytest.raises(NotOnHub, match="'ghost' of 'o/n'") as caught:
        fetch(snapshot, ghost, Held(), limits=FAST)
    assert caught.value.what == "file"
    repo.squash()
    with pytest.raises(NotOnHub) as caught:
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    assert caught.value.what == "revision"


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "a/..", "a b", "a/b?x", "a\n", "é", ".a/b"])
def test_what_is_no_name_of_a_repository_is_never_asked_for(hub, name):
    with pytest.raises(SourceError, match="no name of a repository"):
        resolve("model", name, None, limits=FAST)
    assert hub.count() == 0


# --- a hostile Hub ---------------------------------------------------------------------------

SHA, LFS = "0" * 40, {"oid": "0" * 64, "size": 5}
HOSTILE = [
    *({"path": p} for p in ["../x", "/etc/x", "a\0b", "a\nb", "a\\b", "", "a//b", "./a", "a/."]),
    *({"path": p} for p in ["a/.git/x", "x" * 300, "d/" * 600 + "x", "\ud800", "a.txt", "a.txt/b"]),
    *({"path": "b", "size": s} for s in [-1, 1 << 63, True, "12", 1.5, None, 10**400]),
    *({"path": "b", "oid": o} for o in ["", "0" * 39, "F" * 40, None, 7, "../../x", "0" * 64]),
    *({"path": "b", "lfs": LFS | {"oid": o}} for o in ["0" * 63, "F" * 64, None, 7, "../x"]),
    *({"path": "b", "lfs": LFS | {"size": s}} for s in [-1, 1 << 63, True, "5"]),
    {"path": "b", "lfs": "x"},
    {"path": "b", "lfs": []},
]


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: repr(entry)[:60])
def test_a_listing_that_no_asset_can_be_made_of_is_refused(hub, entry):
    repo = hub.repo("o/n")
    repo.commit({"a.txt": SMALL})
    hub.add_listing_paths(repo, [entry])
    with pytest.raises(SourceError, match="o/n") as caught:
        resolve("model", "o/n", None, limits=FAST)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600


def test_a_path_that_cant_be_kept_may_be_left_out(hub):
    repo = hub.repo("o/n")
    repo.commit({"a.txt": SMALL})
    hub.add_listing_paths(repo, ["bad\\name"])
    with pytest.raises(SourceError) as caught:
        resolve("model", "o/n", None, limits=FAST)
    assert "--exclude" in caught.value.hint
    snapshot = resolve("model", "o/n", None, exclude=["bad*"], limits=FAST)
    assert [file.path for file in snapshot.files] == ["a.txt"]


@pytest.mark.parametrize("sha", ["main", "0" * 39, "F" * 40, "../../x", None, 7, "0" * 41, [SHA]])
def test_a_commit_is_40_hexadecimal_digits(hub, sha):
    hub.repo("o/n").commit(BOTH)
    hub.fault("body", on="api", body=(b'{"id": "o/n", "sha": %s}' % _json(sha)))
    with pytest.raises(SourceError, match="commit"):
        resolve("model", "o/n", None, limits=FAST)


def test_an_empty_repository_says_so(hub):
    hub.repo("o/n")
    with pytest.raises(SourceError, match="has no commit, so no files"):
        resolve("model", "o/n", None, limits=FAST)


def test_another_commit_than_the_one_asked_for_is_refused(hub, history):
    repo, first, second = history
    repo.info_sha = second
    with pytest.raises(SourceError, match=f"asked for commit {first}, found {second}"):
        resolve("dataset", "o/n", first, limits=FAST)


@pytest.mark.parametrize("name", ["../../x", "a/b/c", "a\n", 7, ["o/n"], "http://evil/x"])
def test_the_hubs_name_for_a_repository_is_checked(hub, name):
    body = b'{"id": %s, "sha": "%s"}' % (_json(name), SHA.encode())
    hub.repo("o/n").commit(BOTH)
    hub.fault("body", on="api", body=body)
    with pytest.raises(SourceError, match="which is no name"):
        resolve("model", "o/n", None, limits=FAST)


BODIES = {
    "text": b"<html>log in to the wifi</html>",
    "list": b"[1, 2]",
    "nested": b"[" * 200_000,
    "digits": b'{"sha": ' + b"9" * 10_000 + b"}",
    "bytes": b"\xff\xfe\x00",
    "empty": b" ",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/api/models/o/n", "*/tree/*"])
def test_an_answer_that_is_no_listing_is_one_error(hub, body, path):
    hub.repo("o/n").commit(BOTH)
    hub.fault("body", path=path, body=body)
    with pytest.raises(SourceError, match="o/n"):
        resolve("model", "o/n", None, limits=FAST)


def test_an_answer_without_end_is_stopped(hub):
    hub.repo("o/n").commit(BOTH)
    hub.fault("endless", on="api")
    with pytest.raises(SourceError, match="more than 1,000,000 bytes"):
        resolve("model", "o/n", None, limits=Limits(answer=1_000_000))
    link = {"Link": f'<{hub.endpoint}/api/models/o/n/tree/x?cursor=1>; rel="next"'}
    hub.fault("status", path="*/tree/*", status=200, headers=link, body=b"[]", times=None)
    with pytest.raises(SourceError, match="has no end"):
        resolve("model", "o/n", None, limits=FAST)


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


# --- bytes -----------------------------------------------------------------------------------


def test_a_file_is_one_get_and_nothing_else(hub):
    snapshot = both(hub)
    for file in snapshot.files:
        count = Count()
        fetch(snapshot, file, sink := Held(), progress=count, limits=FAST)
        assert sink.data == BOTH[file.path]
        assert count.total == file.size
    assert [(r.method, r.kind) for r in hub.log] == [
        ("GET", "resolve"),
        ("GET", "resolve"),
        ("GET", "cdn"),
    ]


def test_the_small_files_second_redirect_is_followed(hub):
    hub.resolve_cache = hub.gzip = True
    snapshot = both(hub)
    fetch(snapshot, get(snapshot, "a.txt"), sink := Held(), limits=FAST)
    assert sink.data == SMALL
    assert [r.status for r in hub.log] == [307, 200]


def test_what_is_held_is_not_asked_for_again(hub):
    snapshot = both(hub)
    hub.repos["dataset", "o/n"].commit({"empty": b""})
    for file in snapshot.files:
        data = BOTH[file.path]
        count = Count()
        fetch(snapshot, file, sink := Held(data[:1000]), progress=count, limits=FAST)
        assert sink.data == data
        assert count.total == len(data) - 1000
        fetch(snapshot, file, Held(data), limits=FAST)
    assert {r.range for r in hub.log} == {"bytes=1000-"}
    assert hub.count() == 3
    empty = get(resolve("dataset", "o/n", None, limits=FAST), "empty")
    hub.reset_log()
    fetch(snapshot, empty, Held(), limits=FAST)
    assert hub.count() == 0


def test_more_bytes_than_the_file_has_are_thrown_away_first(hub):
    snapshot = both(hub)
    count = Count()
    fetch(snapshot, snapshot.files[0], sink := Held(b"x" * 50_000), progress=count, limits=FAST)
    assert sink.data == SMALL
    assert count.calls[0] == -50_000
    assert count.total == 40_000 - 50_000


FAULTS = [
    ("cut", {"at": 0.01}),
    ("cut", {"at": 0.5}),
    ("cut", {"at": 0.99}),
    ("reset", {"at": 0.5}),
    ("stall", {"at": 0.5, "seconds": 20}),
    ("stall", {"at": 0, "seconds": 20}),
    ("trickle", {"rate": 300}),
    ("short", {"extra": 100}),
    ("long", {"extra": 100}),
    ("wrong_length", {"extra": 100}),
    ("wrong_length", {"extra": -100}),
    ("drop", {}),
    ("no_range", {}),
    ("wrong_etag", {}),
    ("evil_etag", {}),
    *(("status", {"status": code}) for code in (408, 429, 500, 502, 503, 504)),
]


@pytest.fixture(params=["lean", "session"])
def reader(request, monkeypatch):
    """Files by our own reader, and by the client's session: a proxy for others decides."""
    if request.param == "session":
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("held", [0, 10_000], ids=["cold", "resumed"])
@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(("kind", "how"), FAULTS, ids=lambda value: str(value))
def test_a_fault_that_passes_costs_one_try_more(hub, kind, how, path, held):
    snapshot = both(hub)
    on = "cdn" if path == "b.bin" and kind != "evil_etag" and kind != "wrong_etag" else "resolve"
    fault = hub.fault(kind, on=on, **how)
    count, data = Count(), BOTH[path]
    fetch(snapshot, get(snapshot, path), sink := Held(data[:held]), progress=count, limits=FAST)
    assert sink.data == data
    assert count.total == len(data) - held
    ranged = kind != "no_range" or held
    assert fault.hits == (1 if ranged else 0)
    free = kind in ("no_range", "wrong_etag", "evil_etag")
    assert hub.count(kind="resolve") == (1 if free else 2)
    assert not hub.requests(method="HEAD")
    if kind in ("cut", "stall", "reset"):  # what came is kept
        assert sink.restarts == 0
        assert hub.log[-1].range is not None or how["at"] == 0
        resent = sum(record.sent for record in hub.requests(kind=on)) - (len(data) - held)
        assert resent <= (0 if kind != "reset" else 70_000)


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_hub_that_only_fails_is_tried_five_times(hub, path, status):
    snapshot = both(hub)
    hub.fault("status", status=status, on="resolve", times=None)
    with pytest.raises(
        SourceError, match=f"'{path}' of 'o/n': the Hub answered {status}"
    ) as caught:
        fetch(snapshot, get(snapshot, path), Held(), limits=FAST)
    assert caught.value.exit_code == 1
    assert hub.count() == 5


def test_the_info_and_the_listing_are_tried_again_too(hub):
    hub.repo("o/n").commit(BOTH)
    hub.page_size = 1
    faults = [("status", {"status": 503}), ("drop", {}), ("cut", {}), ("stall", {"seconds": 9})]
    for kind, how in faults:
        hub.fault(kind, on="api", **how)
        hub.fault(kind, path="*/tree/*", **how)
    assert len(resolve("model", "o/n", None, limits=FAST).files) == 2
    assert len(hub.faults_hit) == 2 * len(faults)
    hub.fault("status", on="api", times=None)
    hub.reset_log()
    with pytest.raises(SourceError, match="503"):
        resolve("model", "o/n", None, limits=FAST)
    assert hub.count() == 5


def test_a_line_that_is_always_cut_ends_and_keeps_what_came(hub):
    snapshot = both(hub)
    hub.fault("cut", at=0.01, times=None)
    with pytest.raises(SourceError, match="was cut"):
        fetch(snapshot, snapshot.files[0], sink := Held(), limits=FAST)
    assert 400 <= len(sink.data) < 40_000
    assert SMALL.startswith(bytes(sink.data))
    assert hub.count() < 200
    hub.clear_faults()
    fetch(snapshot, snapshot.files[0], sink, limits=FAST)
    assert sink.data == SMALL


def test_a_line_that_is_cut_again_and_again_gets_there_while_it_moves_on(hub):
    snapshot = both(hub)
    hub.fault("cut", at=30_000, on="cdn", times=9)  # more often than a file has tries
    fetch(snapshot, get(snapshot, "b.bin"), sink := Held(), limits=FAST)
    assert sink.data == LARGE
    assert hub.count(kind="cdn") == 10


def test_retries_without_progress_end_after_their_time(hub):
    snapshot = both(hub)
    hub.fault("stall", at=0, seconds=30, times=None)
    begin = time.monotonic()
    with pytest.raises(SourceError, match="not a byte for"):
        fetch(snapshot, snapshot.files[0], Held(), limits=Limits(silence=0.4, patience=0.9))
    assert time.monotonic() - begin < 5
    assert hub.count() < 5


@pytest.mark.parametrize("path", BOTH)
def test_an_endless_body_is_stopped_at_the_size_that_was_listed(hub, path):
    snapshot = both(hub)
    hub.fault("endless", on="cdn" if path == "b.bin" else "resolve", times=None)
    count = Count()
    with pytest.raises(IntegrityError, match="bytes, found more than that"):
        fetch(snapshot, get(snapshot, path), sink := Held(), progress=count, limits=FAST)
    assert (sink.offset, count.total) == (0, 0)
    assert max(count.calls) <= len(BOTH[path])
    assert hub.count(kind="resolve") == 1


@pytest.mark.parametrize("extra", [-100, 100])
def test_a_file_of_another_size_is_an_integrity_error(hub, extra):
    snapshot = both(hub)
    kind = "long" if extra > 0 else "short"
    hub.fault(kind, extra=abs(extra), times=None)
    with pytest.raises(IntegrityError, match=f"expected 40000 bytes, found {40_000 + extra}"):
        fetch(snapshot, snapshot.files[0], sink := Held(), limits=FAST)
    assert sink.offset == 0


def test_a_part_that_the_hub_has_not_is_forgotten(hub):
    repo = hub.repo("o/n")
    repo.commit({"a.txt": SMALL})
    hub.add_listing_paths(repo, [{"path": "b", "size": 100, "content": b"x" * 50}])
    snapshot = resolve("model", "o/n", None, limits=FAST)
    count = Count()
    with pytest.raises(IntegrityError):  # 416, then a whole file that is too short
        fetch(snapshot, get(snapshot, "b"), Held(b"y" * 60), progress=count, limits=FAST)
    assert count.total == -60
    assert {r.status for r in hub.requests(kind="resolve")} == {416, 200}


@pytest.mark.parametrize("value", ["bytes 0-39999/40000", "bytes 1000-39999/50000", "x", None])
def test_another_range_than_the_one_asked_for_is_not_written(hub, value):
    snapshot = both(hub)
    headers = {"Content-Range": value} if value else {}
    hub.fault("status", status=206, headers=headers, body=b"z" * 39_000, on="resolve")
    fetch(snapshot, snapshot.files[0], sink := Held(SMALL[:1000]), limits=FAST)
    assert sink.data == SMALL


def test_an_encoded_body_is_not_taken_for_the_file(hub):
    snapshot = both(hub)
    hub.fault("status", status=200, headers={"Content-Encoding": "gzip"}, body=b"z" * 40_000)
    fetch(snapshot, snapshot.files[0], sink := Held(), limits=FAST)
    assert sink.data == SMALL
    assert hub.count() == 2


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://[x/", "ftp://h/x", "data:,x"])
def test_a_redirect_to_what_is_no_http_url_is_refused(hub, target):
    snapshot = both(hub)
    hub.fault("status", status=302, headers={"Location": target}, on="resolve")
    with pytest.raises(SourceError, match="no http URL"):
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)


def test_redirects_end(hub):
    snapshot = both(hub)
    hub.fault("status", status=302, headers={"Location": "?again"}, times=None)
    with pytest.raises(SourceError, match="more than 5 redirects"):
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)


def test_a_quota_is_waited_for_and_said_once(hub):
    snapshot = both(hub)
    said = []
    hub.fault("status", status=429, retry_after=1, on="resolve")
    begin = time.monotonic()
    fetch(snapshot, snapshot.files[0], sink := Held(), notice=said.append, limits=FAST)
    assert sink.data == SMALL
    assert time.monotonic() - begin > 1
    assert len(said) == 1
    assert "no more requests" in said[0]


def test_a_date_to_come_back_at_is_waited_for(hub):
    snapshot = both(hub)
    when = datetime.now(UTC) + timedelta(seconds=2)
    hub.fault("status", headers={"Retry-After": format_datetime(when, usegmt=True)})
    begin = time.monotonic()
    fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    assert time.monotonic() - begin > 0.9  # the date has no fractions


def test_a_quota_that_takes_too_long_is_an_error_at_once(hub):
    snapshot = both(hub)
    hub.fault("status", status=429, retry_after=400, times=None)
    with pytest.raises(SourceError, match="no more requests for 401 s") as caught:
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    assert "hf auth login" in caught.value.hint
    assert hub.count() == 1


def test_a_quota_that_never_opens_ends(hub):
    snapshot = both(hub)
    headers = {"RateLimit": '"resolve";r=1;t=9', "Retry-After": "0"}
    hub.fault("status", status=429, headers=headers, retry_after=0, times=None)
    with pytest.raises(SourceError, match="429"):
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    assert hub.count() <= 6


def test_many_threads_wait_for_one_quota_together(hub):
    hub.repo("o/n").commit({f"{n}.txt": b"%d" % n for n in range(12)})
    snapshot = resolve("model", "o/n", None, limits=FAST)
    hub.quota = {"resolve": (5, 1.0)}
    said: list[str] = []
    got: dict[str, bytes] = {}
    items = [(file, Held) for file in snapshot.files]
    limits = Limits(quota=30)
    bad = fetch_many(snapshot, items, done=_keep(got), notice=said.append, limits=limits)
    assert not bad
    assert len(got) == 12
    assert 1 <= len(said) <= 4


# --- no network ------------------------------------------------------------------------------


def test_without_a_connection_the_error_is_offline_and_comes_soon(hub):
    hub.offline()
    begin = time.monotonic()
    with pytest.raises(Offline, match=r"no connection to http://127\.0\.0\.1") as caught:
        resolve("model", "o/n", None, limits=FAST)
    assert caught.value.exit_code == 3
    assert time.monotonic() - begin < 2


def test_a_name_that_nobody_knows_is_offline(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://user:secret@no-such-host.invalid/hub")
    with pytest.raises(Offline, match="no connection to http://no-such-host") as caught:
        resolve("model", "o/n", None, limits=FAST)
    assert "secret" not in str(caught.value)


def test_offline_by_order_asks_nobody(hub, monkeypatch):
    from huggingface_hub import constants

    snapshot = both(hub)
    with pytest.raises(Offline, match="offline mode"):
        resolve("model", "o/n", None, limits=Limits(offline=True))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Offline, match="offline mode"):
        fetch(snapshot, snapshot.files[0], Held(), limits=FAST)
    with pytest.raises(Offline, match="offline mode"):
        fetch_many(snapshot, [(snapshot.files[0], Held)], done=_keep({}), limits=FAST)
    assert hub.count() == 0


def test_a_server_that_answers_and_then_is_gone_is_no_offline(hub):
    snapshot = both(hub)
    hub.fault("cut", at=0.5, on="cdn")

    def progress(_: int) -> None:
        hub.offline()

    with pytest.raises(ConnectionLost, match="answered before") as caught:
        fetch(snapshot, get(snapshot, "b.bin"), sink := Held(), progress=progress, limits=FAST)
    assert caught.value.exit_code == 1
    hub.online()
    fetch(snapshot, get(snapshot, "b.bin"), sink, limits=FAST)
    assert sink.data == LARGE


@pytest.mark.parametrize("wrong", ["no TLS", "certificate"])
def test_a_tls_failure_is_one_line(hub, monkeypatch, tmp_path, wrong):
    from huggingface_hub import constants

    context = None
    if wrong == "certificate":
        names = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=x",
            *names,
        ]
        subprocess.run(make, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_400, args=(server, context), daemon=True).start()
        endpoint = f"https://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        with pytest.raises(SourceError, match=f"{endpoint}: TLS failed: ") as caught:
            resolve("model", "o/n", None, limits=FAST)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def _answer_400(server: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            sock, _ = server.accept()
        except OSError:
            return
        with sock:
            try:
                if context:
                    context.wrap_socket(sock, server_side=True).close()
                elif sock.recv(1000):
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            except OSError:
                continue


# --- many files ------------------------------------------------------------------------------


def _keep(got: dict[str, bytes]):
    def done(file, sink):
        assert threading.current_thread() is threading.main_thread()
        assert file.path not in got
        got[file.path] = bytes(sink.data)

    return done


@pytest.fixture
def many(hub):
    files = {f"{n:03}.txt": b"%d " % n * (n * 7 % 50 + 1) for n in range(120)}
    hub.repo("o/n").commit(files | {"x.bin": LARGE})
    snapshot = resolve("model", "o/n", None, limits=FAST)
    hub.reset_log()
    return snapshot, files | {"x.bin": LARGE}


@pytest.mark.parametrize("jobs", [1, 8, 500])
def test_many_files_come_each_once_by_one_get(hub, many, jobs):
    snapshot, files = many
    got: dict[str, bytes] = {}
    count = Count()
    items = ((file, Held) for file in snapshot.files)
    bad = fetch_many(snapshot, items, jobs=jobs, done=_keep(got), progress=count, limits=FAST)
    assert bad == []
    assert got == files
    assert count.total == sum(map(len, files.values()))
    assert hub.count(kind="resolve") == len(files)
    assert fetch_many(snapshot, [], done=_keep({}), limits=FAST) == []


def test_sinks_on_their_way_are_bounded(hub, many):
    snapshot, _ = many
    lock, alive, most = threading.Lock(), 0, 0

    def make():
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return Held()

    def done(file, sink):
        nonlocal alive
        time.sleep(0.002)  # slower than the network
        with lock:
            alive -= 1

    fetch_many(snapshot, [(f, make) for f in snapshot.files], jobs=4, done=done, limits=FAST)
    assert alive == 0
    assert most <= 8


def test_one_bad_file_does_not_stop_the_others(hub, many):
    snapshot, files = many
    hub.fault("status", path="007.txt", times=None)
    hub.fault("status", path="008.txt", status=404, code="EntryNotFound", times=None)
    hub.fault("endless", path="009.txt", times=None)
    got: dict[str, bytes] = {}
    items = [(file, Held) for file in snapshot.files]
    bad = fetch_many(snapshot, items, done=_keep(got), limits=FAST)
    kinds = {file.path: type(error) for file, error in bad}
    assert kinds == {"007.txt": SourceError, "008.txt": NotOnHub, "009.txt": IntegrityError}
    assert got.keys() == files.keys() - kinds.keys()


ENDS = {
    "access": ({"kind": "status", "status": 403}, AccessDenied),
    "gone": ({"kind": "status", "status": 404, "code": "RevisionNotFound"}, NotOnHub),
    "down": ({"kind": "status", "status": 503}, SourceError),
}


@pytest.mark.parametrize(("how", "error"), ENDS.values(), ids=ENDS)
def test_what_all_would_meet_stops_early_and_names_all(hub, many, how, error):
    snapshot, files = many
    kind = how["kind"]
    hub.fault(kind, on="resolve", times=None, **{k: v for k, v in how.items() if k != "kind"})
    items = [(file, Held) for file in snapshot.files]
    bad = fetch_many(snapshot, items, jobs=4, done=_keep({}), limits=FAST)
    assert {file.path for file, _ in bad} == files.keys()
    assert all(type(found) is error for _, found in bad)
    assert hub.count() < 100


def test_a_hub_that_vanishes_in_the_middle_stops_early_and_names_the_rest(hub, many):
    snapshot, files = many
    got: dict[str, bytes] = {}
    keep = _keep(got)

    def done(file, sink):
        keep(file, sink)
        if len(got) == 20:
            hub.offline()

    items = [(file, Held) for file in snapshot.files]
    begin = time.monotonic()
    bad = fetch_many(snapshot, items, jobs=4, done=done, limits=FAST)
    assert time.monotonic() - begin < 5
    assert {file.path for file, _ in bad} | got.keys() == files.keys()
    assert len(bad) + len(got) == len(files)
    assert all(isinstance(error, SourceError) and error.exit_code == 1 for _, error in bad)


@pytest.mark.parametrize("where", ["sink", "done"])
def test_an_error_of_the_callers_own_ends_all_at_once(hub, many, where):
    snapshot, _ = many
    hub.fault("stall", path="x.bin", on="cdn", seconds=60)
    sinks: list[Held] = []

    class Full(Held):
        def write(self, data: bytes) -> None:
            if where == "sink" and len(sinks) > 30:
                raise OSError(28, "No space left on device")
            super().write(data)

    def make():
        sinks.append(Full())
        return sinks[-1]

    def done(file, sink):
        if where == "done" and len(sinks) > 30:
            raise OSError(28, "No space left on device")

    begin = time.monotonic()
    with pytest.raises(OSError, match="No space"):
        fetch_many(snapshot, [(f, make) for f in snapshot.files], done=done)
    assert time.monotonic() - begin < 5  # the stalled one is not waited for
    held = [sink.offset for sink in sinks]
    time.sleep(0.2)
    assert held == [sink.offset for sink in sinks]


def test_a_stop_is_heard_between_tries(hub):
    snapshot = both(hub)
    hub.fault("status", times=None)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        fetch(snapshot, snapshot.files[0], Held(), stop=stop, limits=Limits(backoff=20))


def test_a_stop_is_heard_between_pieces(hub):
    hub.repo("o/n").commit({"b.bin": LARGE * 10})
    snapshot = resolve("model", "o/n", None, limits=FAST)
    stop = threading.Event()
    sink = Held()
    with pytest.raises(Stopped):
        fetch(snapshot, snapshot.files[0], sink, progress=lambda _: stop.set(), stop=stop)
    assert 0 < sink.offset < 1_000_000


INTERRUPTED = """
    import sys, cas.hub
    from tests.test_hub import Held
    snapshot = cas.hub.resolve("model", "o/n", None)
    print("go", flush=True)
    cas.hub.fetch_many(snapshot, [(f, Held) for f in snapshot.files], done=lambda *_: None)
"""


OVER_TLS = """
    import cas.hub
    from tests.test_hub import Held
    file = cas.hub.HubFile(path="a", size=99, sha256=None, git_sha1="0" * 40, xet=None)
    sha = "0" * 40
    snapshot = cas.hub.Snapshot(kind="model", repo="o/n", commit=sha, files=(file,), access=None)
    print("go", flush=True)
    cas.hub.fetch_many(snapshot, [(file, Held)], done=lambda *_: None)
"""


def test_ctrl_c_ends_a_body_over_tls_at_once_too(hub, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked = threading.Event()

    def serve() -> None:
        sock, _ = server.accept()
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1 << 16)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n0123456789")
            asked.set()
            tls.recv(1)  # until the client has hung up

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        endpoint = f"https://127.0.0.1:{server.getsockname()[1]}"
        env = {"HF_ENDPOINT": endpoint, "SSL_CERT_FILE": str(certificate[0])}
        with _client(hub, OVER_TLS, **env) as process:
            assert process.stdout.readline() == "go\n"
            assert asked.wait(20)
            time.sleep(0.3)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(10)
            assert time.monotonic() - begin < 3
            assert "KeyboardInterrupt" in process.stderr.read()


@pytest.mark.parametrize("when", ["body", "headers"])
def test_ctrl_c_ends_at_once_whatever_the_network_does(hub, when):
    hub.repo("o/n").commit({f"{n}.txt": SMALL for n in range(20)})
    if when == "body":
        hub.fault("stall", on="resolve", seconds=60, times=None)
    with _client(hub, INTERRUPTED) as process:
        assert process.stdout.readline() == "go\n"
        if when == "headers":
            hub.latency = 60.0
        time.sleep(0.5)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert time.monotonic() - begin < 3
        assert "KeyboardInterrupt" in process.stderr.read()


# --- the user's settings, in a process of its own --------------------------------------------


def _client(hub, code: str, **env: str) -> subprocess.Popen[str]:
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**clean, "HF_ENDPOINT": hub.endpoint, "HF_HOME": "/nonexistent", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RESOLVE = """
    import cas.hub, cas.errors
    try:
        print(cas.hub.resolve("model", "o/n", None).access)
    except cas.errors.CasError as error:
        print(type(error).__name__)
"""

SETTINGS = {
    "token": ({"HF_TOKEN": "hf_test"}, "private"),
    "none": ({}, "NotOnHub"),
    "kept": ({"HF_TOKEN": "hf_test", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, "NotOnHub"),
    "offline": ({"HF_HUB_OFFLINE": "1"}, "Offline"),
    "proxy": ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}, "Offline"),
    "no proxy": ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}, "NotOnHub"),
}


@pytest.mark.parametrize(("env", "expected"), SETTINGS.values(), ids=SETTINGS)
def test_the_clients_own_settings_hold(hub, env, expected):
    hub.repo("o/n", private=True).commit(BOTH)
    out, err = _client(hub, RESOLVE, **env).communicate(timeout=60)
    assert (out.strip(), err) == (expected, "")


def test_a_proxy_of_the_environment_is_asked(hub):
    # a plain-http proxy gets whole URLs: here the Hub plays it, and knows none
    env = {"HTTP_PROXY": hub.endpoint, "NO_PROXY": "", "HF_ENDPOINT": "http://far.invalid"}
    out, _ = _client(hub, RESOLVE, **env).communicate(timeout=60)
    assert out == "NotOnHub\n"
    assert [record.path.partition("?")[0] for record in hub.log] == [
        "http://far.invalid/api/models/o/n"
    ]


def test_the_room_loads_no_client_before_it_is_used():
    code = "import sys, cas.hub; print({'huggingface_hub', 'httpx2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_every_error_is_one_of_ours_with_an_exit_code():
    for error in (NotOnHub, ConnectionLost, Stopped):
        assert issubclass(error, CasError)
        assert error.exit_code == 1

"""The test Hub's own promises: HTTP's edges, faults, hostile listings, quotas, the log."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest

from tests.hubserver import Hub

TEXT = b"".join(b"%07d\n" % number for number in range(1000))
BIG = b"".join(b"%07d\n" % number for number in range(40_000))
SMALL_URL = "/datasets/org/data/resolve/main/small.txt"
GENERATED = "ce8055659a4218e59c0fc2730fc3a0520d10ce6eb3a142b7702ef6c5ea6da0fb"
BIG_URL = "/datasets/org/data/resolve/main/big.bin"


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "big.bin").write_bytes(BIG)
    with Hub() as hub:
        repo = hub.repo("org/data", "dataset")
        repo.commit({"small.txt": TEXT, "big.bin": tmp_path / "big.bin", "empty": b""})
        yield hub


class Answer:
    """One answer, read to its end or to where it broke."""

    def __init__(self, url: str, method: str = "GET", timeout: float = 5, **headers: str) -> None:
        parts = urlsplit(url)
        self.broken, self.body = "", b""
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        try:
            connection.request(method, f"{parts.path}?{parts.query}", headers=names)
            response = connection.getresponse()
            self.status, self.headers = response.status, response.headers
            while piece := response.read1(65_536):
                self.body += piece
                if len(self.body) > 3_000_000:
                    raise OverflowError("endless")
            length = self.headers["Content-Length"]
            if method != "HEAD" and length and len(self.body) < int(length):
                self.broken = "IncompleteRead"
        except (OSError, http.client.HTTPException, OverflowError) as error:
            self.broken = type(error).__name__
        finally:
            connection.close()


def get(hub: Hub, url: str, **headers: str) -> Answer:
    """Return the answer for a file, behind its redirect where it has one."""
    answer = Answer(hub.endpoint + url, **headers)
    if not answer.broken and answer.status == 302:
        return Answer(answer.headers["Location"], **headers)
    return answer


FILES = pytest.mark.parametrize(("url", "data"), [(SMALL_URL, TEXT), (BIG_URL, BIG)])


@FILES
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=7-", 7, None),
        ("bytes=-5", -5, None),
        ("bytes=100-99999999", 100, None),
        ("bytes=-99999999", 0, None),
    ],
)
def test_a_range_gets_206(hub, url, data, asked, start, stop):
    answer = get(hub, url, Range=asked)
    assert (answer.status, answer.body) == (206, data[start:stop])
    first = start % len(data)
    last = first + len(answer.body) - 1
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"


@FILES
def test_a_range_is_refused_or_ignored_as_http_says(hub, url, data):
    etag = get(hub, url).headers["ETag"]
    assert get(hub, url, Range=f"bytes={len(data)}-").status == 416
    assert get(hub, url, Range="bytes=5-2").status == 416
    assert get(hub, "/datasets/org/data/resolve/main/empty", Range="bytes=0-").status == 416
    assert get(hub, url, Range="bytes=1-2,4-5").status == 200
    assert get(hub, url, Range="lines=1-2").status == 200
    assert get(hub, url, Range="bytes=5-", If_Range=etag).status == 206
    assert get(hub, url, Range="bytes=5-", If_Range='"other"').body == data
    assert get(hub, url, If_None_Match=etag).status == 304


def test_heads_tell_what_gets_give(hub):
    small, empty = (
        Answer(f"{hub.endpoint}/datasets/org/data/resolve/main/{name}", "HEAD")
        for name in ("small.txt", "empty")
    )
    repo = hub.repos["dataset", "org/data"]
    assert (small.headers["Content-Length"], empty.headers["Content-Length"]) == ("8000", "0")
    assert small.headers["ETag"] == f'"{repo.find("main").files["small.txt"].oid}"'
    assert small.headers["X-Repo-Commit"] == repo.head()
    big = Answer(hub.endpoint + BIG_URL, "HEAD")
    assert big.status == 302
    assert big.headers["X-Linked-Etag"] == f'"{hashlib.sha256(BIG).hexdigest()}"'
    assert big.headers["X-Linked-Size"] == str(len(BIG))
    assert big.headers["X-Repo-Commit"] == repo.head()
    assert urlsplit(big.headers["Location"]).netloc != urlsplit(hub.endpoint).netloc


def test_revisions_may_have_bare_slashes_where_the_hub_takes_them(hub):
    repo = hub.repos["dataset", "org/data"]
    repo.pull_request(1, repo.head())
    repo.branch("feature/x", repo.head())
    for revision in ("refs/pr/1", "refs%2Fpr%2F1", "feature%2Fx", repo.head()[:7]):
        assert get(hub, SMALL_URL.replace("main", revision)).body == TEXT
        assert Answer(f"{hub.endpoint}/api/datasets/org/data/tree/{revision}").status == 200
    refused = get(hub, SMALL_URL.replace("main", "feature/x"))
    assert (refused.status, refused.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    refused = get(hub, SMALL_URL.replace("small", "none"))
    assert (refused.status, refused.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert refused.headers["X-Repo-Commit"] == repo.head()


def test_a_repository_may_have_no_owner(hub):
    hub.repo("bare").commit({"a b.txt": TEXT})
    hub.resolve_cache = True
    answer = Answer(f"{hub.endpoint}/bare/resolve/main/a%20b.txt")
    assert answer.status == 307
    assert get(hub, answer.headers["Location"]).body == TEXT
    assert len(json.loads(Answer(f"{hub.endpoint}/api/models/bare/tree/main").body)) == 1
    assert json.loads(Answer(f"{hub.endpoint}/api/models/bare").body)["id"] == "bare"


def test_a_missing_repository_may_come_without_its_code(hub):
    url = f"{hub.endpoint}/api/models/org/nowhere"
    assert Answer(url).headers["X-Error-Code"] == "RepoNotFound"
    hub.bare_401 = True
    assert (Answer(url).status, Answer(url).headers["X-Error-Code"]) == (401, None)


def test_a_connection_is_kept_and_used_again(hub):
    parts = urlsplit(hub.endpoint)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    for _ in range(3):
        connection.request("GET", SMALL_URL)
        assert connection.getresponse().read() == TEXT
        sock = connection.sock
        connection.request("HEAD", SMALL_URL)
        assert connection.getresponse().read() == b""
        assert connection.sock is sock
    connection.close()


def test_the_second_origin_refuses_a_token_and_a_link_that_is_forged_or_old(hub):
    link = Answer(hub.endpoint + BIG_URL, "HEAD").headers["Location"]
    assert Answer(link).status == 200
    assert Answer(link, Authorization="Bearer hf_test").status == 400
    assert hub.count(kind="cdn", authorization=True) == 1
    assert Answer(link.replace("Signature=", "Signature=0")).status == 403
    hub.link_seconds = -1
    assert Answer(Answer(hub.endpoint + BIG_URL, "HEAD").headers["Location"]).status == 403


def test_small_files_are_compressed_for_who_asks(hub):
    hub.gzip = True
    packed = get(hub, SMALL_URL, Accept_Encoding="gzip, deflate")
    assert (packed.headers["Content-Encoding"], packed.body[:2]) == ("gzip", b"\x1f\x8b")
    assert packed.headers["ETag"].startswith('W/"')
    assert get(hub, SMALL_URL, Accept_Encoding="identity").body == TEXT


@FILES
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_cut_or_reset_download_breaks_where_asked(hub, url, data, kind):
    hub.fault(kind, path="*.[tb]*", at=0.25)
    broken = get(hub, url)
    assert broken.broken == {"cut": "IncompleteRead", "reset": "ConnectionResetError"}[kind]
    assert broken.body == data[: len(data) // 4]
    assert get(hub, url, Range="bytes=10-").body == data[10:]
    hub.fault(kind, path="*", at=100, times=2)
    assert [get(hub, url).body for _ in range(3)] == [data[:100], data[:100], data]


@FILES
def test_a_stall_lasts_and_ends_with_the_hub(hub, url, data):
    hub.fault("stall", path="*", at=10, seconds=0.3)
    start = time.monotonic()
    assert get(hub, url).body == data
    assert 0.25 < time.monotonic() - start < 3
    hub.fault("stall", path="*", at=10, seconds=1000, on=None)
    answer = get(hub, url, timeout=0.2)
    assert (answer.broken, answer.body) == ("TimeoutError", data[:10])


def test_a_trickle_has_its_rate(hub):
    hub.fault("trickle", path="small.txt", rate=20_000)
    start = time.monotonic()
    assert get(hub, SMALL_URL).body == TEXT
    assert 0.3 < time.monotonic() - start < 3


@FILES
def test_wrong_bytes_of_the_right_and_of_wrong_sizes(hub, url, data):
    hub.fault("corrupt", path="*", at=0.5)
    flipped = get(hub, url).body
    differs = [at for at in range(len(data)) if flipped[at] != data[at]]
    assert (len(flipped), differs) == (len(data), [len(data) // 2])
    hub.fault("short", path="*", extra=3)
    answer = get(hub, url)
    assert (answer.body, answer.broken) == (data[:-3], "")
    hub.fault("long", path="*", extra=3)
    answer = get(hub, url)
    assert (answer.body, answer.broken) == (data + b"\n\n\n", "")
    hub.fault("wrong_length", path="*", extra=3)
    answer = get(hub, url)
    assert (answer.body, answer.broken) == (data, "IncompleteRead")
    hub.fault("wrong_length", path="*", extra=-3)
    assert get(hub, url).body == data[:-3]
    hub.fault("endless", path="*")
    answer = get(hub, url)
    assert answer.broken == "OverflowError"
    assert answer.body.startswith(data)
    hub.fault("no_range", path="*")
    answer = get(hub, url, Range="bytes=5-")
    assert (answer.status, answer.body) == (200, data)
    assert [hit.kind for hit in hub.faults_hit][0::3] == ["corrupt", "wrong_length", "no_range"]


@FILES
def test_metadata_that_lie(hub, url, data):
    name = "ETag" if url == SMALL_URL else "X-Linked-Etag"
    true = Answer(hub.endpoint + url, "HEAD").headers[name]
    hub.fault("wrong_etag", path="*")
    wrong = Answer(hub.endpoint + url, "HEAD").headers[name]
    assert wrong != true
    assert len(wrong) == len(true)
    hub.fault("evil_etag", path="*")
    assert Answer(hub.endpoint + url, "HEAD").headers[name] == '"../../x"'
    hub.fault("wrong_size", path="*", extra=9)
    name = "Content-Length" if url == SMALL_URL else "X-Linked-Size"
    assert Answer(hub.endpoint + url, "HEAD").headers[name] == str(len(data) + 9)


@pytest.mark.parametrize("status", [403, 404, 408, 429, 500, 502, 503, 504])
def test_a_status_instead_of_an_answer(hub, status):
    hub.fault("status", path="*/tree/*", on="api", status=status, code="X", retry_after=4)
    hub.fault("status", path="small.txt", on="resolve", status=status)
    tree = f"{hub.endpoint}/api/datasets/org/data/tree/main"
    answer = Answer(tree)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "4")
    assert answer.headers["X-Error-Code"] == "X"
    limit = '"api";r=0;t=4' if status == 429 else None
    assert answer.headers["RateLimit"] == limit
    assert [get(hub, SMALL_URL).status for _ in range(2)] == [status, 200]
    assert Answer(tree).status == 200


def test_a_drop_hangs_up_unanswered(hub):
    hub.fault("drop", path="small.txt")
    assert get(hub, SMALL_URL).broken == "RemoteDisconnected"
    assert get(hub, SMALL_URL).body == TEXT


def test_an_api_answer_can_be_any_bytes(hub):
    hub.fault("body", path="*/tree/*", body=b"[" * 2000)
    tree = f"{hub.endpoint}/api/datasets/org/data/tree/main"
    assert Answer(tree).body == b"[" * 2000
    assert len(json.loads(Answer(tree).body)) == 3


def test_a_branch_moves_once_the_question_is_answered(hub):
    repo = hub.repos["dataset", "org/data"]
    before = repo.head()
    hub.fault("moved_branch", path="/api/datasets/org/data", on="api", files={"a": b"1"})
    info = f"{hub.endpoint}/api/datasets/org/data"
    shas = [json.loads(Answer(info).body)["sha"] for _ in range(3)]
    assert shas == [before, repo.head(), repo.head()]
    assert repo.head() != before
    assert repo.find("main").files["a"].content.size == 1


def test_faults_are_counted_over_threads(hub):
    fault = hub.fault("status", path="small.txt", status=500, times=10)
    with ThreadPoolExecutor(8) as pool:
        found = Counter(pool.map(lambda _: get(hub, SMALL_URL).status, range(60)))
    assert found == {500: 10, 200: 50}
    assert (fault.hits, len(hub.faults_hit)) == (10, 10)
    with pytest.raises(ValueError, match="no fault 'cuts'"):
        hub.fault("cuts")


def test_a_listing_can_say_anything(hub):
    repo = hub.repo("org/evil")
    repo.commit({"good.txt": b"good"})
    repo.info_sha = "../../x"
    evil = [
        "../x",
        "/abs",
        "a\0b",
        "a\\b",
        "a\nb",
        {"path": "neg", "size": -1},
        {"path": "short", "lfs": {"oid": "0" * 63, "size": 1, "pointerSize": 130}},
        {"path": "huge", "size": 10**30, "oid": 7},
        {"path": "x.txt", "content": b"served"},
    ]
    hub.add_listing_paths(repo, evil)
    tree = json.loads(Answer(f"{hub.endpoint}/api/models/org/evil/tree/main?recursive=1").body)
    paths = [entry["path"] for entry in tree]
    assert paths[:6] == ["good.txt", "../x", "/abs", "a\0b", "a\\b", "a\nb"]
    by_path = {entry["path"]: entry for entry in tree}
    assert (by_path["neg"]["size"], by_path["huge"]["oid"]) == (-1, 7)
    info = json.loads(Answer(f"{hub.endpoint}/api/models/org/evil?blobs=true").body)
    assert info["sha"] == "../../x"
    assert [sibling["rfilename"] for sibling in info["siblings"]] == paths
    assert info["siblings"][7]["lfs"]["sha256"] == "0" * 63
    assert get(hub, "/org/evil/resolve/main/x.txt").body == b"served"


def test_a_quota_counts_each_class_in_its_window(hub):
    hub.quota = {"api": (2, 300), "resolve": (1, 1)}
    info = f"{hub.endpoint}/api/datasets/org/data"
    answers = [Answer(info) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"api";r=1;t=')
    assert answers[2].headers["RateLimit"].startswith('"api";r=0;t=')
    assert answers[2].headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=300'
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 301
    assert [get(hub, SMALL_URL).status for _ in range(2)] == [200, 429]
    time.sleep(1.05)
    assert get(hub, SMALL_URL).status == 200


def test_offline_refuses_and_online_is_the_same_address(hub):
    endpoint = hub.endpoint
    hub.offline()
    assert get(hub, SMALL_URL).broken == "ConnectionRefusedError"
    hub.online()
    assert hub.endpoint == endpoint
    assert get(hub, BIG_URL).body == BIG


def test_the_log_keeps_what_was_asked_and_sent(hub):
    get(hub, BIG_URL, Range="bytes=10-19")
    found = [(r.origin, r.kind, r.file, r.status, r.range, r.sent) for r in hub.log]
    assert found[0][:5] == ("api", "resolve", "big.bin", 302, "bytes=10-19")
    assert found[1] == ("cdn", "cdn", "big.bin", 206, "bytes=10-19", 10)
    hub.reset_log()
    hub.fault("cut", path="big.bin", at=100)
    get(hub, BIG_URL)
    assert [(r.sent, r.fault) for r in hub.requests(kind="cdn")] == [(100, "cut")]


def test_generated_files_are_the_same_bytes_in_memory_and_on_disk(hub, tmp_path):
    repo = hub.repo("org/many")
    small, large = repo.generate(3, 16_384), repo.generate(2, 2_000_000)
    assert all(isinstance(data, bytes) and len(data) == 16_384 for data in small.values())
    assert {path.stat().st_size for path in large.values()} == {2_000_000}
    assert hashlib.sha256(b"".join(small.values())).hexdigest() == GENERATED
    repo.commit(small | large)
    assert len(repo.find("main").files) == 3
    url = f"/org/many/resolve/main/{quote('data/file-00001.dat')}"
    assert get(hub, url).body == large["data/file-00001.dat"].read_bytes()

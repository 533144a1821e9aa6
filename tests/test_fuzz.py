"""Whatever comes in from outside is a valid value or one of our errors, in time and in memory.

Beside what each format's own tests draw: what a Hub answers, byte by byte, what lies in a
shared store, records of experiments, the warm lock; and for all of them input made to be
costly, in a process of its own that is measured.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cas import lockfile, warm
from cas import store as S
from cas.digest import Digest, hash_bytes
from cas.errors import CasError, SourceError
from cas.files import host
from cas.hub import Limits, fetch, kinds_of, resolve
from cas.installer import collect_garbage
from cas.installer.care import registered
from cas.listing import Listing
from cas.project.requests import edit, parse_settings
from cas.request import LocalRequest
from cas.store.seal import seal
from tests.stores import REPOSITORY, add, remove
from tests.test_hub import Held, login  # noqa: F401
from tests.test_hub_lean import DATA, FILE, SNAPSHOT, Raw

if TYPE_CHECKING:
    from collections.abc import Callable

# a try costs no wait: what is drawn decides how it ends, not how long it takes
HASTY = Limits(
    connect=5, silence=0.3, slow_time=5, tries=2, first_tries=2, patience=0.02, quota=0.02,
    backoff=0.001, backoff_most=0.001,
)  # fmt: skip
SECONDS = 1.0  # of CPU, for one input; a slow machine may take twice that
MEBIBYTES = 200  # that one input may add

QUIET = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

# --- what a Hub answers ----------------------------------------------------------------------

HUGE = "9" * 400
ODD = st.sampled_from(
    ["", "0", "-1", "1e9", "\xb2", "\xb9\xb2", HUGE, "9" * 5000, "NaN", " ", "\x00", "\x7f", "\xff",
     "a\r\n b", '"', "''", ",", ";", "=", "%00", "%zz", "../../x", "t1:", "\xe9" * 99]
)  # fmt: skip
TEXT = ODD | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
INTEGERS = st.integers(-2, 1 << 70).map(str) | ODD
DATES = st.sampled_from(
    ["Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
     "Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 32 Jan 2001 00:00:00",
     "Fri, 31 Dec 9999 23:59:59 -2359",
     "Mon, 01 Jan 2001 00:00:00 +99999999999999999", "Mon, 01 Jan 2001 99:99:99 GMT", "Mon,"]
)  # fmt: skip
LINKS = st.sampled_from(
    ['<{me}/next?cursor=1>; rel="next"', "<>; rel=next", '<http://[>; rel="next"', "<" * 5000,
     '<{me}/x>;' * 500 + ' rel="next"', "<a>" + ";" * 20_000, "<a>" + "; " * 20_000 + "rel=",
     '<?a b\x00>; rel="next"', "<?\xff#x>; rel=next", "<?" + "x" * 40_000 + '>; rel="next"']
)  # fmt: skip
URLS = st.sampled_from(
    ["{me}/elsewhere", "/x", "//", "//[", "http://[", "http://[::1", "http://:0", "http://h:99999999",
     "http://h:port/", "http://\xe9.invalid/", "http://xn--a/", "http://a b/", "http://", "https:",
     "http://user:pw@127.0.0.1:9/", "HTTP://127.0.0.1:9", "file:///etc/passwd", "data:,x", "?", "#",
     "http://127.0.0.1:9/\x7f", "http://" + "a" * 300 + "/", "http://%00/", "{me}/" + "a" * 60_000,
     "http://1.1.1.1.1.1:1/", "http://0x7f.1:9/", "\\\\127.0.0.1:9\\x", "http://127.0.0.1:0/"]
)  # fmt: skip
QUOTAS = st.builds(
    '"{}";r={};t={}'.format, st.sampled_from(["api", "resolve", ""]), INTEGERS, INTEGERS
)
RANGES = st.builds("bytes {}-{}/{}".format, INTEGERS, INTEGERS, INTEGERS | st.just("*"))
HEADERS = {
    "Content-Length": INTEGERS,
    "Content-Range": RANGES | TEXT,
    "Content-Encoding": st.sampled_from(["gzip", "br", "identity", "gzip, gzip", "deflate"]) | TEXT,
    "Transfer-Encoding": st.sampled_from(["chunked", "Chunked ", "gzip, chunked"]) | TEXT,
    "Connection": st.sampled_from(["close", "keep-alive", "upgrade"]) | TEXT,
    "Location": URLS | TEXT,
    "Link": LINKS | TEXT,
    "Retry-After": INTEGERS | DATES | TEXT,
    "RateLimit": QUOTAS | TEXT,
    "RateLimit-Policy": st.builds('"fixed window";"api";q={};w={}'.format, INTEGERS, INTEGERS),
    "ETag": TEXT,
    "X-Linked-Etag": TEXT,
    "X-Linked-Size": INTEGERS,
    "X-Repo-Commit": TEXT,
    "X-Error-Code": st.sampled_from(["GatedRepo", "RepoNotFound", "RevisionNotFound"]) | TEXT,
    "X-Error-Message": TEXT,
    "X-Xet-Cas-Url": URLS | TEXT,
    "X-Xet-Access-Token": TEXT,
    "X-Xet-Token-Expiration": INTEGERS,
    "Content-Type": TEXT,
}
STATUSES = st.sampled_from(
    [200, 206, 301, 302, 303, 307, 308, 401, 403, 404, 416, 429, 500, 503, 100, 101, 204, 304, 999]
)
NAMES = st.lists(st.sampled_from(sorted(HEADERS)), max_size=4)
HEADS = NAMES.flatmap(
    lambda names: st.tuples(*[st.tuples(st.just(name), HEADERS[name]) for name in names])
)
SHA = "0" * 40
INFO = {"id": "o/n", "sha": SHA}
ENTRY = {"type": "file", "path": "a", "size": 3, "oid": SHA, "lfs": {"oid": "0" * 64, "size": 3}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, value: dict[str, object]) -> object:
    """Draw *value* with some of its values replaced by anything."""
    keys = draw(st.sets(st.sampled_from(sorted(value)), max_size=2))
    return {**value, **{key: draw(JSON) for key in keys}}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw the body of an answer: what is meant, nearly so, or anything."""
    what = draw(st.integers(0, 4))
    if what == 0:
        value: object = draw(changed(INFO))
    elif what == 1:
        value = draw(st.lists(changed(ENTRY), max_size=3))
    elif what == 2:
        value = draw(JSON)
    else:
        raw = draw(st.binary(max_size=50) | st.just(DATA) | st.just(DATA[:-1]))
        return gzip.compress(raw) if what == 3 else raw
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


ANSWERS = st.tuples(STATUSES, HEADS, bodies(), st.booleans())


class Answering(Raw):
    """A server that gives the answers that were drawn, in turn, and the last one for ever."""

    drawn: list[tuple[int, tuple[tuple[str, str], ...], bytes, bool]]

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.me = f"http://127.0.0.1:{self.port}"
        self.asked = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def begin(self, drawn) -> None:
        self.drawn, self.asked = drawn, 0

    def _answer(self, sock, _) -> str | None:
        status, headers, body, length = self.drawn[min(self.asked, len(self.drawn) - 1)]
        self.asked += 1
        lines = [f"HTTP/1.1 {status} X"]
        lines += [f"{name}: {text.replace('{me}', self.me)}" for name, text in headers]
        length = length and not {"Content-Length", "Transfer-Encoding"} & {n for n, _ in headers}
        if length:
            lines.append(f"Content-Length: {len(body)}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return None if length else "close"


@pytest.fixture(scope="module")
def server():
    made = Answering()
    yield made
    made.close()


@pytest.fixture
def home(server, monkeypatch, login):  # noqa: F811
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.me)
    return server


def ask_for_a_listing() -> None:
    resolve("model", "o/n", "main", limits=HASTY)


def ask_for_the_kinds() -> None:
    kinds_of("o/n", limits=HASTY)


def ask_for_a_file() -> None:
    fetch(SNAPSHOT, FILE, Held(), limits=HASTY)


def ask_for_the_rest_of_a_file() -> None:
    fetch(SNAPSHOT, FILE, Held(DATA[:1000]), limits=HASTY)


def ask_for_a_file_in_xet() -> None:
    from dataclasses import replace

    fetch(SNAPSHOT, replace(FILE, xet="0" * 64), Held(), limits=HASTY)


ASKING = [ask_for_a_listing, ask_for_a_file, ask_for_the_rest_of_a_file, ask_for_the_kinds]


def is_one_line_or_nothing(ask, server, drawn) -> None:
    server.begin(drawn)
    begin = time.process_time()
    try:
        ask()
    except CasError as error:
        assert str(error).isprintable(), error  # noqa: PT017
        assert len(str(error)) < 900  # noqa: PT017
    assert time.process_time() - begin < 2 * SECONDS


@pytest.mark.parametrize("ask", ASKING, ids=lambda ask: ask.__name__)
@settings(max_examples=60, **QUIET)
@given(drawn=st.lists(ANSWERS, min_size=1, max_size=3))
@example(drawn=[(302, (("Content-Length", "\xb2"), ("Location", "/x")), b"", True)])
@example(drawn=[(301, (("Location", f"http://{'a' * 300}/"),), b"", False)])
@example(drawn=[(429, (("RateLimit", f'"api";r=0;t={HUGE}'),), b"", True)])
@example(drawn=[(429, (("RateLimit", f'"api";r={"9" * 5000};t=1'),), b"", True)])
@example(drawn=[(503, (("Retry-After", "Mon, 01 Jan " + "9" * 30 + " 00:00:00 GMT"),), b"", True)])
@example(drawn=[(503, (("Retry-After", "Mon, 01 Jan 2001 00:00:00 +" + "9" * 20),), b"", True)])
def test_any_answer_of_a_hub_is_a_value_or_one_line(home, ask, drawn):
    is_one_line_or_nothing(ask, home, drawn)


@pytest.mark.full
@pytest.mark.parametrize("ask", ASKING, ids=lambda ask: ask.__name__)
@settings(max_examples=3000, **{**QUIET, "derandomize": False})
@given(drawn=st.lists(ANSWERS, min_size=1, max_size=4))
def test_many_answers_of_a_hub_are_values_or_one_line(home, ask, drawn):
    is_one_line_or_nothing(ask, home, drawn)


@settings(max_examples=10, **QUIET)
@given(
    url=HEADERS["X-Xet-Cas-Url"],
    token=TEXT,
    end=INTEGERS | st.just("99999999999"),
)
@example(url="http://[", token="x", end="99999999999")
@example(url="http://127.0.0.1:9", token="\xff", end="9" * 400)
def test_any_word_about_xet_is_taken_or_left_for_the_plain_get(home, url, token, end):
    pytest.importorskip("hf_xet")
    names = ("X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration")
    word = (200, tuple(zip(names, (url, token, end), strict=True)), b"{}", True)
    is_one_line_or_nothing(ask_for_a_file_in_xet, home, [word, (200, (), DATA, True)])


@pytest.mark.full
def test_pages_that_lead_to_one_another_end(home):
    link = (("Link", '<{me}/x?cursor=%d>; rel="next"'),)

    class Endless(list):
        def __getitem__(self, number):
            if number == 0:
                return (200, (), json.dumps(INFO).encode(), True)
            return (200, tuple((n, text % number) for n, text in link), b"[]", True)

        def __len__(self):
            return 1 << 30

    home.begin(Endless())
    with pytest.raises(SourceError, match="has no end, at page 20,000"):
        resolve("model", "o/n", "main", limits=HASTY)
    assert home.asked == 20_001


# --- what lies in a store that others can write ----------------------------------------------

WORDS = st.sampled_from(
    ["", "x", "\0", "\ud800", "../../x", "t1:", "0" * 64, "9999-12-31T23:59:59+00:00",
     "0001-01-01T00:00:00+23:59", "2026-01-01", "2026-01-01T00:00:00", "/nowhere", "a\nb", host()]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 70) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ROOT = {
    "version": 1, "machine": host(), "path": "/nowhere", "lock": None, "trees": [],
    "experiments": [], "generations": [], "last_seen": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
SIDECAR = {
    "version": 1, "tree": "t1:", "origin": {"local": True}, "files": 1, "size": 1, "sizes": [1],
    "directories": {"": 1},
}  # fmt: skip


@st.composite
def replaced(draw: st.DrawFn, table: dict[str, object]) -> dict[str, object]:
    """Draw *table* with values replaced and keys left out."""
    keys = draw(st.sets(st.sampled_from(sorted(table)), max_size=3))
    gone = draw(st.sets(st.sampled_from(sorted(table)), max_size=1))
    made = {**table, **{key: draw(VALUES) for key in sorted(keys)}}
    return {key: value for key, value in made.items() if key not in gone} or {"x": 1}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store with a tree, its listing's digest, and the bytes of its sidecar."""
    place = tmp_path_factory.mktemp("shared")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    store = S.open_store(place / "store")
    tree = add(store, {"a": b"1"})
    yield store, tree, Path(store.tree(tree) + ".json").read_bytes()
    remove(store.root)
    os.environ.pop("XDG_CACHE_HOME")
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


@settings(max_examples=60, **QUIET)
@given(table=replaced(ROOT), whole=st.booleans(), noise=st.binary(max_size=30))
@example(table={**ROOT, "path": "\0"}, whole=True, noise=b"")
@example(table={**ROOT, "path": "\ud800"}, whole=True, noise=b"")
@example(table={**ROOT, "machine": "\0", "path": "\0"}, whole=True, noise=b"")
@example(table={**ROOT, "last_seen": "0001-01-01T00:00:00+23:59"}, whole=True, noise=b"")
def test_any_root_is_read_or_stops_deletion(shared, table, whole, noise):
    store, tree, _ = shared
    place = Path(store.place("roots", "a" * 32))
    place.mkdir(parents=True, exist_ok=True)
    (place / "root.json").write_bytes(seal(table) if whole else noise)
    with contextlib.suppress(CasError):
        S.read_root(store, "a" * 32)
    S.calls_under_way(store)
    assert isinstance(registered(store), list)
    with contextlib.suppress(CasError):
        collect_garbage(store, older_than=timedelta(days=14))
    S.verify(store)
    assert S.standing(store, tree)[0]


@settings(max_examples=60, **QUIET)
@given(table=replaced(SIDECAR), whole=st.booleans(), noise=st.binary(max_size=30))
def test_any_sidecar_is_read_or_counts_as_lost(shared, table, whole, noise):
    store, tree, good = shared
    if table.get("tree") == "t1:":
        table["tree"] = f"t1:{tree}"
    place = Path(store.tree(tree) + ".json")
    place.chmod(0o644)
    place.write_bytes(seal(table) if whole else noise)
    try:
        S.read_sidecar(store, tree)
        S.only_copy(store, tree)
        S.standing(store, tree)
        S.verify(store)
        with contextlib.suppress(CasError):
            collect_garbage(store, older_than=timedelta(days=14), dry_run=True)
    finally:
        place.write_bytes(good)
        Path(store.tree(tree) + ".bad").unlink(missing_ok=True)


@settings(max_examples=150, **QUIET)
@given(
    numbers=st.lists(st.integers(-3, 1 << 70), min_size=4, max_size=4),
    rest=st.binary(max_size=60) | st.text("0123456789\n/ax\0", max_size=60).map(str.encode),
    good=st.booleans(),
)
@example(numbers=[12, -1, 1, 1], rest=b"n\nt\nc\nr\nv\0\ng\n1\n/\0\n5\n", good=True)
@example(numbers=[12, -1, 2, 1], rest=b"n\nm\n" + b"a\nb\n" * 5 + b"2\n-1\n/\n5\n", good=True)
def test_any_warm_lock_is_used_or_is_none(tmp_path, monkeypatch, numbers, rest, good):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "p"
    root.mkdir(exist_ok=True)
    (root / "assets.lock").write_bytes(b"version = 1\n")
    warm.save(str(root), b"version = 1\n", None, [])
    (file,) = (tmp_path / "cache/cas/locks").iterdir()
    head = b"12 -1 %d %d\n" % tuple(numbers[2:]) if good else b"%d %d %d %d\n" % tuple(numbers)
    body = head + b"version = 1\n" * good + rest
    file.write_bytes(b"%s%08x\n%s" % (warm.MAGIC, zlib.crc32(body), body))
    kept = warm.load(str(root))
    if kept:
        kept.in_place(str(root))
        for asset in kept.assets.values():
            warm.in_place(str(root), asset)


# --- records of experiments ------------------------------------------------------------------

RUN = {"seed": 1, "argv": ["x"], "host": "h"}
USE = {"name": "models/x", "kind": "models", "role": "input", "tree": "t1:" + "0" * 64}
RECORD = {
    "version": 1, "experiment_id": "e", "experiment_name": "n", "status": "finished",
    "created_at": "2026-01-01T00:00:00Z", "tags": [], "metadata": {}, "assets": [USE], "run": RUN,
}  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> dict[str, object]:
    """Draw what a footer says, with values replaced, also inside."""
    table = draw(replaced(RECORD))
    inner = draw(st.sampled_from(["run", "metadata", "assets", ""]))
    if inner == "run":
        table["run"] = draw(replaced(RUN))
    elif inner == "metadata":
        table["metadata"] = draw(st.dictionaries(WORDS, VALUES, max_size=2))
    elif inner == "assets":
        table["assets"] = [draw(replaced({**USE, "commit": None}))]
    return table


@settings(max_examples=20, **QUIET)
@given(table=records())
@example(table={**RECORD, "created_at": "0001-01-01T00:00:00+23:59"})
@example(table={**RECORD, "created_at": "9999-12-31T23:59:59-23:59"})
@example(table={**RECORD, "metadata": {"a": "\ud800"}})
@example(table={**RECORD, "run": {"host": "\ud800"}})
@example(table={**RECORD, "assets": [{**USE, "commit": "\ud800"}]})
def test_any_record_is_read_or_skipped_and_named(tmp_path, table):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from cas import experiments

    footer = json.dumps(table).encode()
    schema = pa.schema([("row_index", pa.int64()), ("loss", pa.float64())], {b"cas": footer})
    data = pa.table({"row_index": [0], "loss": [1.0]}, schema=schema)
    pq.write_table(data, tmp_path / "n.e.parquet")
    told: list[str] = []
    experiments.references(tmp_path)
    experiments.list_records(tmp_path, every=True)
    sql = "SELECT experiment_name, metadata, assets, run FROM experiments"
    found = experiments.query(tmp_path, sql, warn=told.append)
    assert found.num_rows + len(told) == 1, told


# --- input made to be costly, in a process of its own ------------------------------------------

BRACKETS = 10_000_000
COSTLY = {
    "brackets": b"[" * BRACKETS,
    "pairs": b"[]," * (BRACKETS // 3),
    "a list of lists": b"[" + b"[]," * (BRACKETS // 3) + b"[]]",
    "a list of tables": b"[" + b"{}," * (BRACKETS // 3) + b"{}]",
    "closed brackets": b"[" * 5000 + b"]" * 5000,
    "an integer": b"[" + b"9" * BRACKETS + b"]",
    "a hexadecimal integer": b"x = 0x" + b"f" * BRACKETS,
    "a string": b'["' + b"x" * BRACKETS + b'"]',
    "a string of wide characters": ('["' + "x" * (BRACKETS - 8) + '\U0001f600"]').encode(),
    "escapes": b'["' + b"\\u0041" * (BRACKETS // 6) + b'"]',
    "one key again and again": b'{"a":1' + b',"a":1' * (BRACKETS // 6) + b"}",
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(700_000)) + b"}",
    "NUL": bytes(BRACKETS),
    "0xff": b"\xff" * BRACKETS,
    "line ends": b"\n" * BRACKETS,
    "tables": b"[a]\n" * (BRACKETS // 4),
    "keys of TOML": b"".join(b"k%d=1\n" % n for n in range(700_000)),
    "tables of TOML": b"".join(b"[k%d]\n" % n for n in range(300_000)),
    "arrays of TOML": b"[[asset]]\n" * (BRACKETS // 10),
    "settings": b"[tool.cas.assets]\n" + b"".join(
        b'"models/a%d"={local="x"}\n' % n for n in range(100_000)),
    "lines of a listing": b"# cas-tree 1\n" + b"".join(
        b"%064x  %07d/%s\n" % (n, n, b"d/" * 20 + b"x") for n in range(40_000)),
    "a path of a listing": b"# cas-tree 1\n" + b"0" * 64 + b"  " + b"a/" * (BRACKETS // 2) + b"\n",
    "a surrogate": b'["\\ud800' + b"\\ud800" * (BRACKETS // 6) + b'"]',
}  # fmt: skip


def sealed(data: bytes) -> bytes:
    """Return a sealed table with *data* for a value."""
    body = b'{"trees":' + data + b","
    return body + b'"sha256":"' + hash_bytes(body).encode() + b'"}\n'


def uses(top: Path) -> dict[str, Callable[[bytes], object]]:
    """Return what reads bytes that others wrote, by name."""
    root = top / "store/roots" / ("a" * 32)
    root.mkdir(parents=True)
    (top / "store/VERSION").write_text("cas-store 1\n")
    store = S.open_store(top / "store")

    def read_root(data: bytes) -> None:
        (root / "root.json").write_bytes(sealed(data))
        S.read_root(store, "a" * 32)

    def read_sidecar(data: bytes) -> None:
        place = Path(store.tree(Digest("b" * 64)) + ".json")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(sealed(data))
        S.read_sidecar(store, Digest("b" * 64))

    def load_warm(data: bytes) -> None:
        (top / "assets.lock").write_bytes(data)
        warm.save(str(top), data, None, [])
        warm.load(str(top))

    def parse_with_start(start: bytes) -> Callable[[bytes], object]:
        return lambda data: lockfile.parse(start + data)

    return {
        "lockfile": lockfile.parse,
        "value of a lockfile": parse_with_start(b"version = 1\nx = "),
        "settings": parse_settings,
        "edit": lambda data: edit(data, {"models/x": LocalRequest(local="x")}),
        "listing": Listing.parse,
        "root": read_root,
        "sidecar": read_sidecar,
        "warm lock": load_warm,
        "answer of a Hub": Answered(),
        "page of a listing": Answered(page=True),
    }


class Answered:
    """Resolves against a Hub that answers what it is called with."""

    def __init__(self, *, page: bool = False) -> None:
        from huggingface_hub import constants

        self.server, self.page = Answering(), page
        self.constants = constants

    def arm(self, data: bytes) -> None:
        """Answer with *data* from now on; the server stays where it was made."""
        good = (200, (), json.dumps(INFO).encode(), True)
        self.server.begin([good] * self.page + [(200, (), data, True)])

    def __call__(self, data: bytes) -> None:
        self.constants.ENDPOINT = self.server.me
        resolve("model", "o/n", "main", limits=Limits(tries=1))


def measure(name: str) -> None:
    """Print what each costly input ends in, its CPU seconds and the MiB that it added."""
    import resource
    import tempfile

    with tempfile.TemporaryDirectory() as top:
        os.environ["XDG_CACHE_HOME"] = top
        use = uses(Path(top))[name]
        if isinstance(use, Answered):
            use.arm(b"[")
        with contextlib.suppress(CasError):
            use(b"[")  # what is imported at the first use is no input's
        for what, data in COSTLY.items():
            if isinstance(use, Answered):
                use.arm(data)
            before = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
            if pid := os.fork():
                _, status = os.waitpid(pid, 0)
                assert not status, what
                continue
            begin = time.process_time()
            try:
                use(data)
                end = "ok"
            except CasError as error:
                end = f"{type(error).__name__}: {error}"
            took = time.process_time() - begin
            added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
            print(json.dumps([what, end, took, added >> 20]), flush=True)
            os._exit(0)


SOON = ["value of a lockfile", "page of a listing"]
LATER = [
    *("lockfile", "settings", "edit", "listing", "root", "sidecar", "warm lock"),
    "answer of a Hub",
]


@pytest.mark.parametrize("name", [*SOON, *(pytest.param(n, marks=pytest.mark.full) for n in LATER)])
def test_input_made_to_be_costly_is_read_or_refused_in_time_and_memory(name):
    code = f"from tests.test_fuzz import measure; measure({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(COSTLY), done.stderr[-2000:]
    for what, end, took, added in rows:
        print(f"{took:.2f} s  {added:4} MiB  {what}: {end[:60]}")
        assert end.isprintable()
        assert len(end) < 900
    assert max(rows, key=lambda row: row[2])[2] < 2 * SECONDS
    assert max(rows, key=lambda row: row[3])[3] < MEBIBYTES

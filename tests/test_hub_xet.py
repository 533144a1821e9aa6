"""Xet: hf_xet's stream into our sinks, against the test Hub's own store of chunks."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time

import pytest

from cas.errors import AccessDenied
from cas.hub import Limits, NotOnHub, Stopped, fetch, fetch_many, resolve
from tests.hubserver import random_pieces
from tests.hubserver.xet import xet_hash
from tests.test_hub import FAST, SMALL, Count, Held, _client, _keep, get, hub, login  # noqa: F401

pytest.importorskip("hf_xet")

# three pieces of hf_xet's, the last one short
LARGE = b"".join(random_pieces("xet", (128 << 20) + 300_001))
MEDIUM = LARGE[:3_000_017]
WAIT = Limits(
    connect=2, silence=1, slow_time=20, backoff=0.01, backoff_most=0.05, patience=30, quota=5
)


@pytest.fixture
def store(hub):  # noqa: F811
    hub.xet = True
    hub.repo("o/n", "dataset").commit({"m.bin": MEDIUM, "a.txt": SMALL, "empty.bin": b""})
    return hub


def listed(hub, name="o/n"):  # noqa: F811
    snapshot = resolve("dataset", name, None, limits=WAIT)
    hub.reset_log()
    return snapshot


def kinds(hub):  # noqa: F811
    return {record.kind for record in hub.log}


# --- the test Hub, by the true client --------------------------------------------------------

TRUE = """
    import hashlib, json, sys
    from huggingface_hub import hf_hub_download
    found = {}
    for name in json.loads(sys.argv[1]):
        with open(hf_hub_download("o/n", name, repo_type="dataset"), "rb") as data:
            found[name] = hashlib.sha256(data.read()).hexdigest()
    print(json.dumps(found))
"""


@pytest.mark.parametrize("env", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "disabled"])
def test_the_true_client_reads_the_store_of_the_test_hub(store, tmp_path, env):
    store.repos["dataset", "o/n"].commit({"l.bin": LARGE})
    files = {"l.bin": LARGE, "m.bin": MEDIUM, "a.txt": SMALL, "empty.bin": b""}
    code = TRUE.replace("sys.argv[1]", repr(json.dumps(list(files))))
    out, err = _client(store, code, HF_HOME=str(tmp_path), **env).communicate(timeout=120)
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert json.loads(out) == wanted, err
    read = sum(record.sent for record in store.requests(kind="xet", status=206))
    assert (read > len(LARGE)) is not bool(env)
    assert bool(store.count(kind="cdn")) is bool(env)


# --- ours ------------------------------------------------------------------------------------


def test_a_listing_names_what_is_in_xet(store):
    snapshot = listed(store)
    names = {file.path: file.xet for file in snapshot.files}
    assert names["m.bin"] not in (None, get(snapshot, "m.bin").sha256)
    assert names["a.txt"] is None


def test_a_file_in_xet_comes_in_order_and_without_a_request_to_resolve(store):
    store.repos["dataset", "o/n"].commit({"l.bin": LARGE})
    snapshot = listed(store)
    for path, data in (("l.bin", LARGE), ("m.bin", MEDIUM), ("empty.bin", b"")):
        count = Count()
        fetch(snapshot, get(snapshot, path), sink := Held(), progress=count, limits=WAIT)
        assert sink.data == data
        assert count.total == len(data)
        assert sink.restarts == 0
    assert kinds(store) == {"api", "xet-plan", "xet"}


@pytest.mark.parametrize("held", [1, 65_536, 2_000_000, 3_000_016])
def test_what_is_held_is_not_asked_for_again(store, held):
    snapshot = listed(store)
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(MEDIUM[:held]), limits=WAIT)
    assert sink.data == MEDIUM
    assert kinds(store) == {"api", "xet-plan", "xet"}
    sent = sum(record.sent for record in store.requests(kind="xet", status=206))
    assert sent <= len(MEDIUM) - held + 70_000  # whole chunks of 64 KiB


def test_many_files_need_one_token(store):
    files = {f"{n:03}.bin": b"%d " % n * 5000 for n in range(60)}
    store.repos["dataset", "o/n"].commit(files)
    snapshot = listed(store)
    got: dict[str, bytes] = {}
    bad = fetch_many(snapshot, [(f, Held) for f in snapshot.files], done=_keep(got), limits=WAIT)
    assert bad == []
    assert got == {**files, "m.bin": MEDIUM, "a.txt": SMALL, "empty.bin": b""}
    assert store.count(kind="api") == 1
    assert store.count(kind="resolve") == 1  # the regular file


def test_the_hubs_token_never_goes_to_the_store_of_chunks(store, login):  # noqa: F811
    store.repo("o/mine", "dataset", private=True, gated=True).commit({"m.bin": MEDIUM})
    login("hf_test")
    snapshot = listed(store, "o/mine")
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=WAIT)
    assert sink.data == MEDIUM
    assert [r.authorization for r in store.requests(origin="api")] == [True]
    assert not any(r.authorization for r in store.requests(kind="xet"))
    assert "hf_test" not in " ".join(store.credentials)
    login("hf_wrong")
    with pytest.raises(AccessDenied):  # in the words of the plain GET
        fetch(snapshot, get(snapshot, "m.bin"), Held(), limits=WAIT)


def test_a_token_that_ends_is_replaced(store):
    snapshot = listed(store)
    store.xet_seconds = 50  # less than what we count on, more than the 30 s of hf_xet
    items = [(get(snapshot, "m.bin"), Held)] * 3
    bad = fetch_many(snapshot, items, done=lambda *_: None, jobs=1, limits=WAIT)
    assert bad == []
    assert store.count(kind="api") == 3
    assert kinds(store) == {"api", "xet-plan", "xet"}


FAULTS = [
    ("cut", {"at": 0.01}),
    ("cut", {"at": 0.5}),
    ("cut", {"at": 0.99}),
    ("reset", {"at": 0.5}),
    ("stall", {"at": 0.5, "seconds": 60}),
    ("stall", {"at": 0, "seconds": 60}),
    ("short", {"extra": 100}),
    ("wrong_length", {"extra": 100}),
    ("drop", {}),
    *(("status", {"status": code}) for code in (403, 404, 429, 500, 503)),
]


@pytest.mark.parametrize("held", [0, 1_000_000], ids=["cold", "resumed"])
@pytest.mark.parametrize("on", ["xet-plan", "xet"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize(("kind", "how"), FAULTS, ids=str)
def test_whatever_goes_wrong_there_the_file_comes(store, kind, how, on, times, held):
    snapshot = listed(store)
    fault = store.fault(kind, on=on, times=times, **how)
    count = Count()
    begin = time.monotonic()
    fetch(
        snapshot, get(snapshot, "m.bin"), sink := Held(MEDIUM[:held]), progress=count, limits=WAIT
    )
    assert sink.data == MEDIUM
    assert count.total == len(MEDIUM) - held
    assert fault.hits
    assert time.monotonic() - begin < 20
    if times is None:
        assert store.count(kind="cdn") == 1  # the plain GET brought it
    sent = sum(record.sent for record in store.log) - (len(MEDIUM) - held)
    assert sent <= 2.3 * len(MEDIUM)  # each of the three tries began where the last one stood


def test_a_trickle_is_left_to_the_plain_get(store):
    snapshot = listed(store)
    store.fault("trickle", on="xet", rate=20_000, times=None)
    limits = Limits(silence=5, slow_time=1)
    begin = time.monotonic()
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=limits)
    assert sink.data == MEDIUM
    assert time.monotonic() - begin < 10
    assert store.count(kind="cdn") == 1


def test_two_failures_in_a_row_end_xet_for_the_call_and_are_said_once(store):
    files = {f"{n:03}.bin": b"%d " % n * 5000 for n in range(30)}
    store.repos["dataset", "o/n"].commit(files)
    snapshot = listed(store)
    store.fault("status", on="xet-plan", status=403, times=None)
    said: list[str] = []
    got: dict[str, bytes] = {}
    bad = fetch_many(
        snapshot,
        [(f, Held) for f in snapshot.files],
        done=_keep(got),
        notice=said.append,
        jobs=2,
        limits=WAIT,
    )
    assert bad == []
    assert len(got) == 33
    assert len(said) == 1
    assert "plain HTTP" in said[0]
    assert store.count(kind="xet") < 20


def test_wrong_bytes_reach_the_sink_and_the_plain_get_can_be_asked_for(store):
    # hf_xet checks no hash: that is for the sink's owner, who then asks without Xet
    snapshot = listed(store)
    store.fault("corrupt", on="xet", path="m.bin", at=1_000_000, times=None)
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=WAIT)
    assert len(sink.data) == len(MEDIUM)
    assert sink.data != MEDIUM or not store.requests(kind="xet", status=206)
    store.reset_log()
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), xet=False, limits=WAIT)
    assert sink.data == MEDIUM
    assert kinds(store) == {"resolve", "cdn"}


@pytest.mark.parametrize("url", ["local://{}/new", "file:///tmp", "ftp://h", "//h", "", "x"])
def test_a_store_that_is_no_http_url_is_never_opened(store, url, tmp_path):
    snapshot = listed(store)
    store.xet_url = url.format(tmp_path) or " "
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=WAIT)
    assert sink.data == MEDIUM
    assert not store.count(kind="xet-plan")
    assert not (tmp_path / "new").exists()  # as hf_xet would make it


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_without_a_token_the_plain_get_serves(store, status):
    snapshot = listed(store)
    store.fault("status", on="api", status=status, times=None)
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=WAIT)
    assert sink.data == MEDIUM
    assert not store.count(kind="xet-plan")


def test_a_store_that_nobody_listens_at_costs_two_tries(store):
    store.repos["dataset", "o/n"].commit({f"{n}.bin": MEDIUM[: n + 9] for n in range(9)})
    snapshot = listed(store)
    store.xet_url = "http://127.0.0.1:9"
    got: dict[str, bytes] = {}
    items = [(f, Held) for f in snapshot.files]
    begin = time.monotonic()
    assert fetch_many(snapshot, items, done=_keep(got), jobs=1, limits=WAIT) == []
    assert len(got) == 12
    assert time.monotonic() - begin < 10


def test_the_files_of_a_commit_that_is_gone_are_an_error_of_the_hubs(store):
    snapshot = listed(store)
    store.repos["dataset", "o/n"].squash()
    with pytest.raises(NotOnHub) as caught:
        fetch(snapshot, get(snapshot, "m.bin"), Held(), limits=WAIT)
    assert caught.value.what == "revision"


def test_a_file_that_is_larger_in_xet_is_cut_at_the_size_that_was_listed(store):
    repo = store.repos["dataset", "o/n"]
    short = {"oid": hashlib.sha256(MEDIUM).hexdigest(), "size": 2_000_000}
    other = xet_hash(repo.commits[repo.head()].files["m.bin"].content)
    listed(store)  # the store knows the file from now on
    store.add_listing_paths(repo, [{"path": "x.bin", "size": 9, "lfs": short, "xetHash": other}])
    snapshot = listed(store)
    fetch(snapshot, get(snapshot, "x.bin"), sink := Held(), limits=WAIT)
    assert sink.data == MEDIUM[:2_000_000]  # cut at the size; the hash will say the rest


@pytest.mark.parametrize("env", [{"HF_HUB_DISABLE_XET": "1"}, {"ABSENT": "1"}], ids=["off", "no"])
def test_xet_switched_off_or_absent_is_the_plain_get(store, env):
    listed(store)
    code = """
        import os, sys
        if "ABSENT" in os.environ:
            sys.modules["hf_xet"] = None
        import cas.hub
        from tests.test_hub import Held
        snapshot = cas.hub.resolve("dataset", "o/n", None)
        said, sinks = [], []
        def make():
            sinks.append(Held())
            return sinks[-1]
        items = [(file, make) for file in snapshot.files]
        assert not cas.hub.fetch_many(snapshot, items, done=lambda *_: None, notice=said.append)
        print(sorted(map(len, (sink.data for sink in sinks))), said)
    """
    out, err = _client(store, code, **env).communicate(timeout=60)
    assert (out, err) == ("[0, 40000, 3000017] []\n", "")
    assert not store.count(kind="xet-plan")
    assert store.count(kind="cdn") == 1


# --- stops -----------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["xet-plan", "xet"])
def test_a_stop_is_heard_while_hf_xet_waits(store, on):
    snapshot = listed(store)
    store.fault("stall", on=on, at=0.5, seconds=60, times=None)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Stopped):
        fetch(snapshot, get(snapshot, "m.bin"), Held(), stop=stop)  # with the true limits
    assert time.monotonic() - begin < 3
    time.sleep(0.5)
    assert "cas-hub-xet" not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_callers_own_ends_all_at_once(store):
    store.repos["dataset", "o/n"].commit({f"{n}.bin": MEDIUM[: n + 900] for n in range(9)})
    snapshot = listed(store)
    store.fault("stall", on="xet", path="m.bin", at=0.5, seconds=60, times=None)
    sinks: list[Held] = []

    def make():
        sinks.append(Held())
        return sinks[-1]

    def done(file, sink):
        raise OSError(28, "No space left on device")

    begin = time.monotonic()
    with pytest.raises(OSError, match="No space"):
        fetch_many(snapshot, [(f, make) for f in snapshot.files], done=done)
    assert time.monotonic() - begin < 5
    held = [sink.offset for sink in sinks]
    time.sleep(0.2)
    assert held == [sink.offset for sink in sinks]
    store.clear_faults()
    fetch(snapshot, get(snapshot, "m.bin"), sink := Held(), limits=WAIT)  # a new call works
    assert sink.data == MEDIUM


def test_a_full_disk_is_passed_through(store):
    class Full(Held):
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    snapshot = listed(store)
    with pytest.raises(OSError, match="No space"):
        fetch(snapshot, get(snapshot, "m.bin"), Full(), limits=WAIT)


ALONE = """
    import cas.hub
    from tests.test_hub import Held
    snapshot = cas.hub.resolve("dataset", "o/n", None)
    file = next(file for file in snapshot.files if file.path == "m.bin")
    print("go", flush=True)
    if {many}:
        cas.hub.fetch_many(snapshot, [(file, Held)], done=lambda *_: None)
    cas.hub.fetch(snapshot, file, Held())
"""


@pytest.mark.parametrize("many", [True, False], ids=["many", "one"])
def test_ctrl_c_ends_at_once_while_hf_xet_waits(store, many, tmp_path):
    store.fault("stall", on="xet", path="m.bin", at=0.5, seconds=60, times=None)
    code = ALONE.replace("{many}", str(many))
    with _client(store, code, HF_HOME=str(tmp_path)) as process:
        assert process.stdout.readline() == "go\n"
        for _ in range(100):
            if store.requests(kind="xet", status=206) or store.faults_hit:
                break
            time.sleep(0.05)
        time.sleep(0.3)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert time.monotonic() - begin < 3
        assert "KeyboardInterrupt" in process.stderr.read()


def test_a_process_that_was_forked_after_xet_uses_it_too(store, tmp_path):
    code = """
        import os, cas.hub
        from tests.test_hub import Held
        snapshot = cas.hub.resolve("dataset", "o/n", None)
        file = next(file for file in snapshot.files if file.path == "m.bin")
        cas.hub.fetch(snapshot, file, Held())
        if not os.fork():
            cas.hub.fetch(snapshot, file, Held())
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    out, err = _client(store, code, HF_HOME=str(tmp_path)).communicate(timeout=60)
    assert out.splitlines()[-1] == "7", err  # hf_xet may tell where it logs, before
    assert not store.count(kind="cdn")


@pytest.mark.full
def test_memory_stays_bounded(store, tmp_path):
    # the library alone may keep 1.5 GB ahead
    path = tmp_path / "big"
    with path.open("wb") as out:
        out.writelines([LARGE] * 6)
    store.repos["dataset", "o/n"].commit({"big.bin": path})
    code = """
        import re, cas.hub
        class Null:
            offset = 0
            def write(self, data): self.offset += len(data)
        snapshot = cas.hub.resolve("dataset", "o/n", None)
        file = next(file for file in snapshot.files if file.path == "big.bin")
        cas.hub.fetch(snapshot, file, Null())
        status = open("/proc/self/status").read()  # what getrusage says is the parent's at least
        print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) >> 10)
    """
    out, err = _client(store, code).communicate(timeout=120)
    assert int(out) < 700, err


def test_nothing_but_hf_xets_log_is_written_to_the_users_directory(store, tmp_path):
    code = ALONE.replace("{many}", "True")
    done = _client(store, code, HF_HOME=str(tmp_path))
    assert done.communicate(timeout=60)[1] == ""
    files = [p.relative_to(tmp_path).parts for p in tmp_path.rglob("*") if p.is_file()]
    assert all(parts[:2] == ("xet", "logs") for parts in files)

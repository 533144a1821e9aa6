"""`cas serve` under clients that are many, idle, slow, or gone."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.serving import Lab, ask, serving

SIZE = 96 << 20  # bytes; more than the sockets of one connection hold
LIMIT = 256  # descriptors of the server
WAIT = 60.0  # seconds; a noisy machine is slow
FILE = "/big.bin/resolve/main/big.bin"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    place = tmp_path_factory.mktemp("load")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "CAS_STORE": str(place / "store")}
    env |= {"XDG_CACHE_HOME": str(place / "cache"), "XDG_CONFIG_HOME": str(place / "config")}
    lab = Lab(None, place, env, "", "", "")
    lab.project.mkdir()
    lab.cas("init")
    with (lab.project / "big.bin").open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(hashlib.sha256(b"%d" % number).digest() * (1 << 15))
    lab.cas("add", "./big.bin", "--move", "--name", "models/big.bin")
    return lab


@pytest.fixture
def server(here):
    with serving(here, limit=LIMIT) as (url, process):
        yield url, process.pid


def _open_files(pid):
    """Return the files that the server has open in a store."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(fd))
        except FileNotFoundError:
            continue
    return [place for place in found if "/trees/" in place or "/objects/" in place]


def _status(pid, name):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0])


def _bytes_read(pid):
    return int(Path(f"/proc/{pid}/io").read_text().partition("rchar:")[2].split()[0])


def _until(holds):
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _connect(url):
    at = urlsplit(url)
    return socket.create_connection((at.hostname, at.port), timeout=WAIT)


def _begin(url):
    """Ask for the large file, and read no more than its beginning."""
    client = _connect(url)
    client.sendall(f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    return client


def _sum(url, start=0):
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=4 * WAIT)
    connection.request("GET", FILE, headers={"Range": f"bytes={start}-"})
    answer, sums = connection.getresponse(), hashlib.sha256()
    while piece := answer.read(1 << 20):
        sums.update(piece)
    connection.close()
    return answer.status, sums.hexdigest()


def test_sixty_four_clients_at_once_have_every_byte(server):
    url, pid = server
    starts = [SIZE - (8 << 20)] * 60 + [0] * 4
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda start: _sum(url, start), starts))
    assert {status for status, _ in found} == {206}
    assert len(set(found[:60])) == 1
    assert len(set(found[60:])) == 1
    assert found[60] == (206, hashlib.sha256(b"".join(
        hashlib.sha256(b"%d" % number).digest() * (1 << 15) for number in range(SIZE >> 20)
    )).hexdigest())  # fmt: skip
    assert _status(pid, "Threads") < 40
    _until(lambda: not _open_files(pid))


def test_a_client_that_goes_away_in_the_middle_costs_nothing(server):
    url, pid = server
    clients = [_begin(url) for _ in range(20)]
    _until(lambda: len(_open_files(pid)) == 20)
    before = _bytes_read(pid)
    for client in clients:
        client.close()
    _until(lambda: not _open_files(pid))
    assert _bytes_read(pid) - before < 20 * SIZE // 3  # nobody reads on for them
    assert ask(url, FILE, Range="bytes=0-3").status == 206


def test_clients_that_do_not_read_hold_little_memory(server):
    url, pid = server
    assert ask(url, FILE, Range="bytes=0-3").status == 206
    before = _status(pid, "VmRSS")
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(_begin(url))
        _until(lambda: len(_open_files(pid)) == 40)
        assert ask(url, "/api/models/big.bin").status == 200
        assert _status(pid, "VmRSS") - before < 200 << 10  # KiB; all of them ask for 3.75 GiB


def test_idle_connections_make_room_for_one_that_asks(server):
    url, pid = server
    with ExitStack() as stack:
        idle = [stack.enter_context(_connect(url)) for _ in range(600)]
        half = stack.enter_context(_connect(url))
        half.sendall(b"GET /api/models/big.bin HTTP/1.1\r\nHost: local")
        for _ in range(20):
            assert ask(url, "/api/models/big.bin").status == 200
        assert _sum(url, SIZE - 100)[0] == 206
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < LIMIT
        assert _status(pid, "Threads") < 40
        half.sendall(b"host\r\n\r\n")
        assert half.recv(100).startswith(b"HTTP/1.1 200")
        idle[0].settimeout(WAIT)
        assert idle[0].recv(1) == b""  # the longest idle one was ended


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n" + b"a" * 200_000,
                                  b"GET /\x00 HTTP/1.1\r\n\r\n", b"\r\n" * 3000])  # fmt: skip
def test_what_is_no_request_is_refused_and_said_nowhere(here, sent):
    with serving(here) as (url, process):
        with _connect(url) as client:
            try:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100)[:12] in (b"HTTP/1.1 400", b"")
            except ConnectionError:
                pass
        assert ask(url, "/api/models/big.bin").status == 200
    assert "Traceback" not in "".join(process.said)


def test_a_stop_does_not_wait_for_clients_that_read_slowly(here):
    with serving(here) as (url, process):
        client = _begin(url)
        began = time.monotonic()
        process.terminate()
        assert process.wait(WAIT) == 143
        assert time.monotonic() - began < WAIT / 2
        client.close()
    assert "Traceback" not in "".join(process.said)


@pytest.mark.full
def test_a_connection_that_asks_nothing_or_reads_nothing_is_ended(server):
    url, pid = server
    with _connect(url) as silent, _begin(url) as stalled:
        silent.settimeout(4 * WAIT)
        assert silent.recv(1) == b""
        began = time.monotonic()
        while _open_files(pid) and time.monotonic() - began < 4 * WAIT:
            time.sleep(1)
        assert not _open_files(pid)
        stalled.settimeout(WAIT)
        while stalled.recv(1 << 20):  # what the kernel holds; then the end
            pass

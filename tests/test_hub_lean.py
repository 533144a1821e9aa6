"""Our own reader of files, against servers that speak HTTP badly, and beside the session."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import threading
import time
import tracemalloc

import pytest

from cas.errors import CasError, SourceError
from cas.hub import HubFile, Limits, Snapshot, fetch, fetch_many, resolve
from tests.hubserver import random_pieces
from tests.test_hub import FAST, Held, _client, _keep, hub, login  # noqa: F401

DATA = b"".join(random_pieces("lean", 50_000))
FILE = HubFile(path="a", size=len(DATA), sha256=None, git_sha1="0" * 40, xet=None)
FILES = tuple(
    HubFile(path=f"{n}", size=len(DATA), sha256=None, git_sha1=f"{n:040}", xet=None)
    for n in range(20)
)
SNAPSHOT = Snapshot(kind="model", repo="o/n", commit="0" * 40, files=FILES, access=None)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"


class Raw:
    """A server whose answers are a function of the number of the request."""

    def __init__(self, answer) -> None:
        self.answer, self.requests, self.connections = answer, [], 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._lock = threading.Lock()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = sock.recv(65_536)
                    if not more:
                        return
                    head += more
                with self._lock:
                    self.requests.append(head)
                    number = len(self.requests)
                if self.answer(sock, number) == "close":
                    return

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def raw(monkeypatch, login):  # noqa: F811
    from huggingface_hub import constants

    made = []

    def make(answer):
        server = Raw(answer)
        made.append(server)
        threading.Thread(target=server.accept, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.port}")
        return server

    yield make
    for server in made:
        server.close()


def test_connections_are_kept_and_no_more_than_there_are_threads(raw):
    server = raw(lambda sock, _: sock.sendall(HEAD + DATA))
    got: dict[str, bytes] = {}
    items = [(file, Held) for file in FILES]
    assert fetch_many(SNAPSHOT, items, jobs=3, done=_keep(got), limits=FAST) == []
    assert set(got.values()) == {DATA}
    assert len(server.requests) == 20
    assert server.connections <= 3
    head = server.requests[0].lower()
    for line in (b"accept-encoding: identity", b"user-agent: cas/", b"host: 127.0.0.1:"):
        assert head.count(line) == 1


def test_a_connection_that_was_closed_while_it_was_idle_costs_no_try(raw):
    def answer(sock, _):
        sock.sendall(HEAD + DATA)
        return "close"  # though it was not said

    server = raw(answer)
    items = [(file, Held) for file in FILES]
    limits = Limits(tries=1)
    assert fetch_many(SNAPSHOT, items, jobs=1, done=lambda *_: None, limits=limits) == []
    assert len(server.requests) == 20


BODIES = {
    "close": b"HTTP/1.1 200 OK\r\n\r\n" + DATA,
    "1.0": b"HTTP/1.0 200 OK\r\n\r\n" + DATA,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x;x=y\r\n%b\r\n" % (len(p), p) for p in (DATA[:7], DATA[7:40_000], DATA[40_000:]))
    + b"0\r\nX-Trailer: y\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + DATA,
    "case": HEAD.replace(b"Content-Length", b"cONTENT-lENGTH") + DATA,
    "bare newlines": HEAD.replace(b"\r\n", b"\n") + DATA,
    "no blank": HEAD.replace(b": ", b":") + DATA,
    "folded": HEAD.replace(b"Content", b"X: y\r\n z\r\nContent") + DATA,
    "one name twice": HEAD.replace(b"Content", b"X: y\r\nx: z\r\nContent") + DATA,
    "one length twice": HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 50000\r\n\r\n") + DATA,
    "no ascii": HEAD.replace(b"Content", "X: é…\r\nContent".encode()) + DATA,
    "no reason": HEAD.replace(b" OK", b"") + DATA,
    "last": HEAD.replace(b"Content", b"Connection: close\r\nContent") + DATA,
    "chunks, and a length": HEAD.replace(b"Content", b"Transfer-Encoding: chunked\r\nContent")
    + b"c350\r\n%b\r\n0\r\n\r\n" % DATA,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_comes_however_its_end_is_told(raw, body):
    def answer(sock, _):
        sock.sendall(body)
        return "close"

    raw(answer)
    fetch(SNAPSHOT, FILE, sink := Held(), limits=FAST)
    assert sink.data == DATA


@pytest.mark.parametrize("at", [1, 12, 17, 30, len(HEAD) - 1, len(HEAD), len(HEAD) + 1])
def test_an_answer_that_comes_in_two_parts_is_one(raw, at):
    def answer(sock, _):
        sock.sendall((HEAD + DATA)[:at])
        time.sleep(0.05)
        sock.sendall((HEAD + DATA)[at:])

    server = raw(answer)
    fetch_many(SNAPSHOT, [(f, Held) for f in FILES[:2]], done=_keep(got := {}), jobs=1, limits=FAST)
    assert list(got.values()) == [DATA, DATA]
    assert (len(server.requests), server.connections) == (2, 1)


def test_the_last_answer_of_a_connection_is_read_to_its_end(raw):
    data = DATA * 40
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    server = raw(lambda sock, _: sock.sendall(head + data))  # and it waits for the client to close
    files = [HubFile(path=p, size=len(data), sha256=None, git_sha1="0", xet=None) for p in "ab"]
    fetch_many(SNAPSHOT, [(f, Held) for f in files], done=_keep(got := {}), jobs=1, limits=FAST)
    assert list(got.values()) == [data, data]
    assert (len(server.requests), server.connections) == (2, 2)


NOISE = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" * 4,
    "no code": b"HTTP/1.1 abc OK\r\n\r\n",
    "long line": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "no end": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "minus": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 50000\r\n\r\n1234567",
    "binary": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_what_is_no_http_is_one_line(raw, noise):
    def answer(sock, _):
        sock.sendall(noise)
        return "close"

    raw(answer)
    with pytest.raises(CasError, match=r"'a' of 'o/n'") as caught:
        fetch(SNAPSHOT, FILE, sink := Held(), limits=FAST)
    assert str(caught.value).isprintable()
    assert sink.data == b""


def _drip(sock, data: bytes, wait: float):
    with contextlib.suppress(OSError):
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
            time.sleep(wait)
    return "close"


def test_headers_that_trickle_in_are_given_up(raw):
    raw(lambda sock, _: _drip(sock, HEAD * 9, 0.05))
    begin = time.monotonic()
    with pytest.raises(SourceError, match=r"not a byte for|stalled"):
        fetch(SNAPSHOT, FILE, Held(), limits=FAST)
    assert time.monotonic() - begin < 8  # five tries


@pytest.mark.parametrize("place", ["info", "listing"])
def test_the_apis_headers_that_trickle_in_are_given_up_too(raw, place):
    info = b'{"id": "o/n", "sha": "%s"}' % (b"0" * 40)

    def answer(sock, number):
        if place == "listing" and number == 1:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(info), info))
            return None
        return _drip(sock, HEAD * 9, 0.05)

    raw(answer)
    begin = time.monotonic()
    with pytest.raises(SourceError, match=r"not a byte for|stalled"):
        resolve("model", "o/n", None, limits=FAST)
    assert time.monotonic() - begin < 8


PACKED = {"Content-Encoding": "gzip", "Content-Type": "application/json"}


def test_a_packed_answer_of_the_api_is_unpacked(hub):  # noqa: F811
    repo = hub.repo("o/n")
    sha = repo.commit({"a.txt": b"x"})
    body = gzip.compress(b'{"id": "o/n", "sha": "%s"}' % sha.encode())
    hub.fault("status", on="api", status=200, headers=PACKED, body=body)
    assert resolve("model", "o/n", None, limits=FAST).commit == sha
    for wrong in (body[:-9], b"no gzip at all", body[:20] + b"x" + body[21:]):
        hub.fault("status", on="api", status=200, headers=PACKED, body=wrong)
        assert resolve("model", "o/n", None, limits=FAST).commit == sha  # tried again
    headers = PACKED | {"Content-Encoding": "br"}
    hub.fault("status", on="api", status=200, headers=headers, body=b"x")
    assert resolve("model", "o/n", None, limits=FAST).commit == sha


def test_a_bomb_is_not_unpacked_beyond_the_limit(hub):  # noqa: F811
    hub.repo("o/n").commit({"a.txt": b"x"})
    bomb = gzip.compress(bytes(300 << 20), 1)
    hub.fault("status", on="api", status=200, headers=PACKED, body=bomb)
    tracemalloc.start()
    with pytest.raises(SourceError, match="more than 1,000,000 bytes"):
        resolve("model", "o/n", None, limits=Limits(answer=1_000_000))
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


def test_a_server_that_thinks_for_a_while_is_waited_for(raw):
    def answer(sock, _):
        time.sleep(0.8)  # longer than headers may take once they begin
        sock.sendall(HEAD + DATA)

    raw(answer)
    limits = Limits(silence=2, slow_time=0.5, tries=1)
    fetch(SNAPSHOT, FILE, sink := Held(), limits=limits)
    assert sink.data == DATA


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again(raw):
    def answer(sock, number):
        sock.sendall(HEAD + DATA[:-9])
        time.sleep(0.02)
        sock.sendall(DATA[-9:] + (HEAD + b"z" * 9 if number % 2 else b""))

    server = raw(answer)
    got: dict[str, bytes] = {}
    items = [(file, Held) for file in FILES[:6]]
    bad = fetch_many(SNAPSHOT, items, jobs=1, done=_keep(got), limits=Limits(tries=3, backoff=0.01))
    assert bad == []
    assert set(got.values()) == {DATA}
    assert server.connections >= 3


def test_a_client_of_the_users_own_is_used(hub):  # noqa: F811
    hub.repo("o/n").commit({"a.txt": DATA, "b.bin": DATA})
    code = """
        import httpx2, huggingface_hub, cas.hub
        from tests.test_hub import Held
        huggingface_hub.set_client_factory(lambda: httpx2.Client(cookies={"mine": "1"}))
        snapshot = cas.hub.resolve("model", "o/n", None)
        for file in snapshot.files:
            cas.hub.fetch(snapshot, file, Held())
        used = []
        hook = {"request": [lambda request: used.append(request.url.path)]}
        huggingface_hub.set_client_factory(lambda: httpx2.Client(event_hooks=hook))
        cas.hub.fetch(snapshot, snapshot.files[0], Held())
        print(len(used))
    """
    out, err = _client(hub, code).communicate(timeout=60)
    assert (out, err) == ("1\n", "")


def test_small_files_cost_little(raw):
    raw(lambda sock, _: sock.sendall(HEAD + DATA))
    items = [(file, Held) for file in FILES] * 20
    before = resource.getrusage(resource.RUSAGE_THREAD)
    begin = time.process_time()
    assert fetch_many(SNAPSHOT, items, jobs=2, done=lambda *_: None, limits=Limits()) == []
    assert time.process_time() - begin < 2  # the server's share and a slow machine's included
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_utime - before.ru_utime < 1

"""The Hub in its breadth: strange names, mirrors, proxies, TLS, quotas, moved histories."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time

import pytest

from cas.errors import SourceError
from cas.hub import Limits, NotOnHub, fetch, fetch_many, resolve
from tests.hubserver import Hub
from tests.test_hub import (  # noqa: F401
    BOTH,
    FAST,
    LARGE,
    SMALL,
    Held,
    _client,
    _keep,
    certificate,
    get,
    hub,
    login,
)

# --- names -----------------------------------------------------------------------------------

STRANGE = [
    "details_harness|arc:challenge|25_2023-07-19T13:48:53.parquet",
    "-rf",
    "--help.bin",
    "-dir/-file.bin",
    "a b/c  d .txt",
    " leading",
    "emoji 🤗🧑🏽‍🚀.bin",
    "漢字/кириллица.txt",
    "e\u0301 decomposed.txt",
    "#hash?query&a=b+c%2F%.bin",
    "~tilde/$HOME;`x`'\"<>*.txt",
    "..dots/...",
    "x" * 250,
    "CON",
    "a:b",
    "[1]{2}^@!,.bin",
]


@pytest.mark.parametrize("way", ["plain", "resolve-cache", "xet"])
def test_files_of_any_name_come(hub, way):  # noqa: F811
    hub.resolve_cache, hub.xet = way == "resolve-cache", way == "xet"
    files = {name: f"{n} {name}".encode() * (n % 3 * 999) for n, name in enumerate(STRANGE)}
    hub.repo("o/n", "dataset").commit(files)
    snapshot = resolve("dataset", "o/n", None, limits=FAST)
    assert [file.path for file in snapshot.files] == sorted(files, key=str.encode)
    got: dict[str, bytes] = {}
    limits = Limits(connect=5, silence=5)
    bad = fetch_many(snapshot, [(f, Held) for f in snapshot.files], done=_keep(got), limits=limits)
    assert bad == []
    assert got == files


def test_an_include_finds_a_strange_name(hub):  # noqa: F811
    hub.repo("o/n").commit(dict.fromkeys(STRANGE, b"x"))
    for name in STRANGE:
        if not set(name) & set("[]*?"):
            snapshot = resolve("model", "o/n", None, include=[name], limits=FAST)
            assert [file.path for file in snapshot.files] == [name]


# --- a mirror --------------------------------------------------------------------------------


@pytest.fixture
def mirror(monkeypatch, login):  # noqa: F811
    from huggingface_hub import constants

    login("hf_test")
    with Hub() as server:
        server.prefix = "/mirror/hf"
        server.resolve_cache, server.page_size = True, 3
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server


# of the Hub itself, of a host behind the mirror, and of nobody
LINKS = [None, "https://huggingface.co", "http://10.255.255.1:8080", "http://[bad"]


@pytest.mark.parametrize("link", LINKS)
def test_a_mirror_under_a_path_serves_all(mirror, link):
    mirror.next_page = link
    files = {f"{n}.txt": b"%d" % n for n in range(8)} | BOTH
    mirror.repo("new/name", "dataset", private=True).commit(files)
    mirror.redirect("old/name", "new/name", "dataset")
    snapshot = resolve("dataset", "old/name", "main", limits=FAST)
    assert snapshot.repo == "new/name"
    got: dict[str, bytes] = {}
    bad = fetch_many(snapshot, [(f, Held) for f in snapshot.files], done=_keep(got), limits=FAST)
    assert bad == []
    assert got == files
    assert not any(record.authorization for record in mirror.requests(origin="cdn"))
    assert all(record.status < 400 for record in mirror.log)


# --- proxies ---------------------------------------------------------------------------------


class Proxy:
    """A small forward proxy: plain requests and tunnels, each on a thread."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:p%40ss@127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.close()

    @property
    def lines(self) -> list[str]:
        return [head.partition(b"\r\n")[0].decode() for head in self.heads]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, ValueError):
            while head := self._head(sock):
                self.heads.append(head)
                method, target, _ = head.partition(b"\r\n")[0].split(b" ")
                if self.answer is not None:
                    sock.sendall(self.answer)
                    return
                if method == b"CONNECT":
                    host, _, port = target.decode().rpartition(":")
                    with socket.create_connection((host, int(port))) as there:
                        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        back = threading.Thread(target=_relay, args=(there, sock), daemon=True)
                        back.start()
                        _relay(sock, there)
                        back.join()
                    return
                place, _, path = target.removeprefix(b"http://").partition(b"/")
                host, _, port = place.decode().rpartition(":")
                with socket.create_connection((host, int(port))) as there:
                    first, _, rest = head.partition(b"\r\n")
                    there.sendall(first.replace(target, b"/" + path) + b"\r\nConnection: close\r\n")
                    lines = rest.split(b"\r\n")
                    there.sendall(
                        b"\r\n".join(
                            x for x in lines if not x.lower().startswith((b"proxy-", b"connection"))
                        )
                    )
                    _relay(there, sock)
                return

    def _head(self, sock: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65_536)
            if not more:
                return b""
            data += more
        return data


def _relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


BRING = """
    import cas.hub, cas.errors
    from tests.test_hub import Held
    try:
        snapshot = cas.hub.resolve("dataset", "o/n", None, limits=cas.hub.Limits(tries=2))
        sinks = []
        def make():
            sinks.append(Held())
            return sinks[-1]
        items = [(file, make) for file in snapshot.files]
        assert not cas.hub.fetch_many(snapshot, items, done=lambda *_: None)
        print(sorted(len(sink.data) for sink in sinks))
    except cas.errors.CasError as error:
        print(f"{type(error).__name__}: {error}")
"""


def _bring(hub, **env):  # noqa: F811
    out, err = _client(hub, BRING, **env).communicate(timeout=60)
    assert err == ""
    return out.rstrip("\n").rpartition("\n")[2]  # hf_xet may tell where it logs, before


@pytest.mark.parametrize("xet", [False, True], ids=["plain", "xet"])
def test_a_forward_proxy_carries_everything(hub, xet):  # noqa: F811
    hub.xet = xet
    hub.repo("o/n", "dataset", private=True).commit(BOTH)
    with Proxy() as proxy:
        env = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": ""}
        assert _bring(hub, HF_TOKEN="hf_test", **env) == "[40000, 300000]"
    assert len(proxy.heads) == hub.count()
    credentials = base64.b64encode(b"user:p@ss")
    assert all(b"Basic " + credentials in head for head in proxy.heads if b"/api/" in head)
    assert all(line.split()[1].startswith("http://127.0.0.1") for line in proxy.lines)


def test_a_proxy_that_the_environment_exempts_is_not_asked(hub):  # noqa: F811
    hub.repo("o/n", "dataset").commit(BOTH)
    with Proxy() as proxy:
        env = {"HTTP_PROXY": proxy.url, "NO_PROXY": "localhost,127.0.0.1"}
        assert _bring(hub, **env) == "[40000, 300000]"
    assert proxy.heads == []


@pytest.fixture
def over_tls(hub, certificate):  # noqa: F811
    """The Hub behind TLS: its endpoint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(sock, server_side=True) as tls,
            socket.create_connection(("127.0.0.1", hub.port)) as there,
        ):
            threading.Thread(target=_relay, args=(there, tls), daemon=True).start()
            while data := tls.recv(65_536):
                there.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"https://127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_tunnel_carries_everything(hub, over_tls, certificate):  # noqa: F811
    hub.repo("o/n", "dataset", private=True).commit(BOTH)
    with Proxy() as proxy:
        env = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "", "HF_ENDPOINT": over_tls}
        known = {"SSL_CERT_FILE": str(certificate[0]), "HF_TOKEN": "hf_test"}
        assert _bring(hub, **env, **known) == "[40000, 300000]"
        assert all(line.startswith("CONNECT 127.0.0.1:") for line in proxy.lines)
        assert not any(b"hf_test" in head for head in proxy.heads)
        assert "TLS failed" in _bring(hub, **env)


REFUSALS = {
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "nothing": b"",
    "noise": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_tunnel_that_is_refused_is_one_line(hub, answer):  # noqa: F811
    with Proxy(answer) as proxy:
        env = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "", "HF_ENDPOINT": "https://far.invalid"}
        said = _bring(hub, **env)
    assert said.startswith(("SourceError: ", "Offline: "))
    assert "\n" not in said
    assert "p%40ss" not in said
    assert "p@ss" not in said
    if answer[9:12].isdigit():
        assert f"the proxy answered '{answer[9:12].decode()} " in said


UNUSABLE = {
    "socks": {"ALL_PROXY": "socks5://user:secret@127.0.0.1:9"},
    "scheme": {"HTTP_PROXY": "ftp://user:secret@h:1"},
    "url": {"HTTP_PROXY": "http://user:secret@[::1"},
    "no file": {"SSL_CERT_FILE": "/nonexistent", "HF_ENDPOINT": "https://127.0.0.1:9"},
    "no certificates": {"SSL_CERT_FILE": "/etc/passwd", "HF_ENDPOINT": "https://127.0.0.1:9"},
}


@pytest.mark.parametrize("env", UNUSABLE.values(), ids=UNUSABLE)
def test_an_environment_that_no_client_can_use_is_one_line(hub, env):  # noqa: F811
    said = _bring(hub, NO_PROXY="", **env)
    assert said.startswith("SourceError: ")
    assert "\n" not in said
    assert "secret" not in said


# --- TLS -------------------------------------------------------------------------------------


def test_a_certificate_for_another_name_is_one_line(hub, over_tls, certificate):  # noqa: F811
    hub.repo("o/n", "dataset").commit(BOTH)
    known = {"SSL_CERT_FILE": str(certificate[0])}
    assert _bring(hub, HF_ENDPOINT=over_tls, **known) == "[40000, 300000]"
    said = _bring(hub, HF_ENDPOINT=over_tls.replace("127.0.0.1", "localhost"), **known)
    assert "TLS failed" in said
    assert "\n" not in said


def test_xet_over_tls_of_ones_own_or_else_the_plain_get(hub, over_tls, certificate):  # noqa: F811
    hub.xet = True
    hub.xet_url = over_tls.replace("https", "http")  # no way down from https
    hub.repo("o/n", "dataset").commit(BOTH)
    known = {"SSL_CERT_FILE": str(certificate[0])}
    assert _bring(hub, HF_ENDPOINT=over_tls, **known) == "[40000, 300000]"
    assert not hub.count(kind="xet-plan")


# --- quotas ----------------------------------------------------------------------------------


def test_a_listing_waits_for_the_quota_of_the_api(hub):  # noqa: F811
    hub.repo("o/n").commit({f"{n}.txt": b"" for n in range(30)})
    hub.page_size, hub.quota = 5, {"api": (4, 1.0)}
    said: list[str] = []
    limits = Limits(quota=10)
    begin = time.monotonic()
    assert len(resolve("model", "o/n", None, notice=said.append, limits=limits).files) == 30
    assert time.monotonic() - begin > 0.9
    assert said
    assert all("no more requests" in line for line in said)
    assert hub.count(status=429) <= 3


@pytest.mark.parametrize("left", [0, 7])
def test_a_429_waits_for_the_window_that_its_header_names(hub, left):  # noqa: F811
    hub.repo("o/n").commit(BOTH)
    window = {
        "RateLimit": f'"api";r={left};t=1',
        "RateLimit-Policy": '"fixed window";"api";q=9;w=9',
    }
    answer = {"status": 429, "on": "api", "headers": window}
    fault = hub.fault("status", **answer)
    if left:
        fault.headers = window  # and no Retry-After
    begin = time.monotonic()
    said: list[str] = []
    resolve("model", "o/n", None, notice=said.append, limits=FAST)
    assert time.monotonic() - begin > 1
    assert len(said) == 1


def test_windows_add_up_to_the_six_minutes_of_a_call_at_most():
    assert Limits().quota == 360


# --- histories -------------------------------------------------------------------------------


def test_a_squashed_history_has_no_such_revision_and_the_branch_has_the_same_files(hub):  # noqa: F811
    repo = hub.repo("o/n", "dataset")
    old = repo.commit(BOTH)
    before = resolve("dataset", "o/n", old, limits=FAST)
    repo.squash()
    with pytest.raises(NotOnHub) as caught:
        resolve("dataset", "o/n", old, limits=FAST)
    assert caught.value.what == "revision"
    after = resolve("dataset", "o/n", "main", limits=FAST)
    assert after.commit != before.commit
    assert after.files == before.files


def test_a_repository_that_is_gone_from_one_call_to_the_next_says_so(hub):  # noqa: F811
    hub.repo("o/n").commit(BOTH)
    snapshot = resolve("model", "o/n", None, limits=FAST)
    del hub.repos["model", "o/n"]
    with pytest.raises(NotOnHub) as caught:
        fetch(snapshot, get(snapshot, "a.txt"), Held(), limits=FAST)
    assert caught.value.what == "repository"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_renamed_repository_is_followed_once_and_then_known(hub, status):  # noqa: F811
    hub.repo("new/name").commit(BOTH)
    hub.redirect("old/name", "new/name", status=status)
    snapshot = resolve("model", "old/name", None, limits=FAST)
    assert snapshot.repo == "new/name"
    assert [r.status for r in hub.log] == [status, 200, 200]


def test_repositories_that_redirect_in_a_ring_end(hub):  # noqa: F811
    hub.redirect("a/a", "b/b")
    hub.redirect("b/b", "a/a")
    with pytest.raises(SourceError, match="redirects"):
        resolve("model", "a/a", None, limits=FAST)


# --- size ------------------------------------------------------------------------------------


class Late(Held):
    """A sink that has all but the end of a large file."""

    def __init__(self, held: int) -> None:
        super().__init__()
        self.held = held

    @property
    def offset(self) -> int:
        return self.held + len(self.data)


@pytest.mark.full
def test_an_empty_file_beside_one_of_5_gb(hub, tmp_path):  # noqa: F811
    large, size = tmp_path / "large", (5 << 30) + 1
    with large.open("wb") as out:  # a hole: little is written
        out.truncate(size - 5)
        out.seek(size - 5)
        out.write(b"end.\n")
    hub.repo("o/n").commit({"empty": b"", "empty.bin": b"", "large.bin": large})
    for hub.xet in (False, True):
        snapshot = resolve("model", "o/n", None, limits=FAST)
        hub.reset_log()
        assert [file.size for file in snapshot.files] == [0, 0, size]
        items = [(get(snapshot, name), Held) for name in ("empty", "empty.bin")]
        items.append((get(snapshot, "large.bin"), lambda: Late(size - 100_000)))
        got: dict[str, bytes] = {}
        limits = Limits(silence=10)
        assert fetch_many(snapshot, items, done=_keep(got), limits=limits) == []
        assert got == {"empty": b"", "empty.bin": b"", "large.bin": bytes(99_995) + b"end.\n"}
        assert sum(record.sent for record in hub.log) < 300_000

"""Remotes that mean harm: nothing endless is read, and no key or token is said or passed on."""

from __future__ import annotations

import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cas.digest import hash_bytes
from cas.errors import CasError
from cas.remote import open_remote, parse_place
from tests.test_remotes import Held

KEY, SECRET, TOKEN = "AKIAEXAMPLE", "the-secret-key", "the-session-token"
ROW = (
    "<Contents><Key>cas/objects/{n:02x}/{n:062x}</Key><Size>3</Size><ETag>&quot;x&quot;</ETag>"
    "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
)


class Harmful(BaseHTTPRequestHandler):
    """A bucket that does what its server's ``does`` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.server.leads_to:
            self.answer(307, b"", more={"Location": f"{self.server.leads_to}{self.path}"})
            return
        self.server.heard.append(f"{self.path} {self.headers}")
        rows = "".join(ROW.format(n=number) for number in range(100))
        if self.server.does == "tells all":
            said = f"<Error><Code>AccessDenied</Code><Message>{self.headers}</Message></Error>"
            self.answer(403, said.encode())
        elif "list-type" in self.path:
            end = "<NextContinuationToken>on</NextContinuationToken></ListBucketResult>"
            page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{rows}{end}"
            self.answer(200, page.encode())
        else:
            length = None if self.server.does == "serves" else 1 << 45
            self.answer(200, b"cas-remote 1\n", length=length)

    do_PUT = do_GET

    def answer(self, status: int, body: bytes, *, length: int | None = None, more=()) -> None:
        self.send_response(status)
        for name, value in dict(more).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length or len(body)))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(does: str, *, host: str = "127.0.0.1", leads_to: str = ""):
    """Yield a server that answers so, or leads to another one."""
    server = ThreadingHTTPServer((host, 0), Harmful)
    server.does, server.leads_to, server.heard = does, leads_to, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def bucket(patch: pytest.MonkeyPatch, does: str, *, leads_to: str = ""):
    """Yield a remote in a bucket of that kind."""
    with serving(does, leads_to=leads_to) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
        }.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        remote = open_remote(parse_place("lab", "s3://bucket/cas"))
        remote.heard = server.heard
        yield remote


def test_a_version_without_end_is_not_read(monkeypatch, tmp_path):
    with (tmp_path / "VERSION").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(CasError, match="its VERSION is ''"):
        open_remote(parse_place("lab", f"file://{tmp_path}")).begin()
    with (
        bucket(monkeypatch, "has no end") as remote,
        pytest.raises(CasError, match="its VERSION is ''"),
    ):
        remote.begin()


def test_a_listing_without_end_is_left(monkeypatch):
    wanted = [hash_bytes(b"%d" % number) for number in range(5)]
    with (
        bucket(monkeypatch, "has no end") as remote,
        pytest.raises(CasError, match="its listing has no end"),
    ):
        remote.sizes(wanted, stop=threading.Event())


def test_no_key_or_token_is_in_an_error_whatever_the_server_says(monkeypatch):
    with bucket(monkeypatch, "tells all") as remote, pytest.raises(CasError) as caught:
        remote.begin()
    error: BaseException | None = caught.value
    said = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    while error is not None:
        said += f"{error} {error!r}"
        error = error.__cause__
    assert not [secret for secret in (SECRET, TOKEN) if secret in said]


def test_a_host_that_a_bucket_leads_to_gets_no_key_and_nothing_is_put_there(monkeypatch):
    with serving("has no end", host="127.0.0.2") as other:
        away = f"http://127.0.0.2:{other.server_port}"
        with bucket(monkeypatch, "leads away", leads_to=away) as remote:
            with pytest.raises(CasError, match="its VERSION is ''"):
                remote.begin()  # obstore follows, and can't be told not to
            (heard,) = (headers.lower() for headers in other.heard)
            assert not [w for w in (KEY, SECRET, "authorization:") if w.lower() in heard]
            with pytest.raises(CasError, match="307"):
                remote.put_bytes(hash_bytes(b"mine"), b"mine")
            assert len(other.heard) == 1


def test_nothing_is_signed_for_a_bucket_that_everybody_may_read(monkeypatch):
    monkeypatch.setattr("cas.remote.bucket.DIRECT", 1)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    sink, stop = Held(), threading.Event()
    with bucket(monkeypatch, "serves") as remote:
        assert remote.fetch(hash_bytes(b""), sink, limit=100, stop=stop)
    assert sink.data == b"cas-remote 1\n"
    assert len(remote.heard) == 1
    assert not any(word in remote.heard[0] for word in (KEY, "X-Amz-Signature"))

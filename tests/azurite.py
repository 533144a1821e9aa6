"""A real Azure Blob server for tests: Azurite, by ``npm install -g azurite``, on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import formatdate
from pathlib import Path
from typing import Self

import pytest

__all__ = ["Azurite"]

SECONDS = 60
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of that account in every Azurite: no secret."""
VERSION = "2021-08-06"


class Azurite:
    """``with Azurite() as server``: one with an empty container."""

    container = "lab-box"

    def __init__(self) -> None:
        if not shutil.which("azurite-blob"):
            pytest.skip("no azurite-blob here (npm install -g azurite)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to reach it."""
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self.port}",
        }

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="cas-azurite-"))
        words = ["azurite-blob", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
                 "--location", self._directory, "--blobHost", "127.0.0.1",
                 "--blobPort", str(self.port)]  # fmt: skip
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until = time.monotonic() + SECONDS
        while True:
            try:
                self._make_container()
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _make_container(self) -> None:
        now = formatdate(usegmt=True)
        headers = f"x-ms-date:{now}\nx-ms-version:{VERSION}\n"
        # the account is in the path twice: as the owner, and as the emulator's name for it
        resource = f"/{ACCOUNT}/{ACCOUNT}/{self.container}\nrestype:container"
        text = "PUT" + "\n" * 12 + headers + resource
        key = base64.b64decode(KEY)
        signed = base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{ACCOUNT}/{self.container}?restype=container",
            method="PUT",
            headers={"x-ms-date": now, "x-ms-version": VERSION, "content-length": "0",
                     "authorization": f"SharedKey {ACCOUNT}:{signed}"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=10).close()

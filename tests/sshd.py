"""A real sshd for tests, on loopback, with keys of its own; skipped where there is none."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

__all__ = ["Sshd"]


class Sshd:
    """``with Sshd(directory) as server``: this user may log in with the key in its home."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def __enter__(self) -> Sshd:
        found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/lib/openssh")
        if not found or not shutil.which("ssh-keygen"):
            pytest.skip("no sshd here (openssh-server)")
        pytest.importorskip("paramiko")
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        for path in (ssh / "id_ed25519", self.home / "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        shutil.copy(ssh / "id_ed25519.pub", self.home / "authorized")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.home / "config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.home}/host\n"
            f"AuthorizedKeysFile {self.home}/authorized\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            f"PidFile none\nSubsystem sftp internal-sftp\n"
        )
        log = (self.home / "log").open("wb")
        self._process = subprocess.Popen([found, "-D", "-e", "-f", config], stderr=log, stdout=log)
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    pytest.skip(f"sshd does not start: {(self.home / 'log').read_text()[-300:]}")
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

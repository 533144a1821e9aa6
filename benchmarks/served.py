"""The rows of `cas serve`: the same file from it and from nginx, to the same clients."""

# ruff: noqa: RUF001 - tables have a multiplication sign

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import CAS, PYTHON, Place, hash_file, make_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 1 << 30  # bytes
CLIENTS = 64
PART = 64 << 20  # bytes that each of them asks for
FILE = "large.bin/resolve/main/large.bin"
HF = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"

MANY = """\
for i in $(seq "$1"); do
  curl -fsS -o /dev/null -w '%{size_download}\\n' -r "0-$2" "$3" &
done
wait
"""

# what huggingface_hub wants to be told of a file; `user`, as it may not get to it otherwise
NGINX = """\
worker_processes auto; pid {root}/nginx.pid; error_log {root}/nginx.log; daemon off; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; client_body_temp_path {root}/nginx;
  server {{
    listen 127.0.0.1:{port};
    location = /{file} {{
      alias {place};
      add_header X-Repo-Commit {commit};
      add_header X-Linked-Etag '"{sha256}"';
      add_header X-Linked-Size {size};
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """One of them, which listens."""

    name: str
    url: str
    pid: int

    def cpu(self) -> float:
        """Return the seconds of CPU that it and its workers had until now."""
        mine = [self.pid, *_children(self.pid)]
        return sum(map(_seconds, mine))


@contextmanager
def _servers(place: Place) -> Iterator[list[Server]]:
    """Start cas serve over a project with one large file, and nginx where it is installed."""
    project = place.root / "project"
    project.mkdir()
    place.clear_caches()
    make_file(place.root / "large.bin", SIZE)
    place.run(CAS, "init", cwd=project)
    place.run(CAS, "add", "../large.bin", "--move", "--name", "models/large.bin", cwd=project)
    file = place.run(CAS, "path", "models/large.bin", cwd=project).strip()
    argv = [CAS, "serve", "--port", "0"]
    ours = subprocess.Popen(argv, cwd=project, env=place.env(), stderr=subprocess.PIPE, text=True)
    theirs = None
    try:
        found = None
        while not found and (line := ours.stderr.readline() if ours.stderr else ""):
            found = re.search(r"serving at (\S+);", line)
        if not found:
            raise NotDone("cas serve does not listen")
        servers = [Server("cas serve", found[1], ours.pid)]
        if nginx := shutil.which("nginx"):
            theirs, url = _start_nginx(nginx, place, file)
            servers.append(Server("nginx", url, theirs.pid))
        yield servers
    finally:
        for process in (ours, theirs):
            if process:
                process.terminate()
                process.wait()


def _start_nginx(nginx: str, place: Place, file: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sha256 = hash_file(Path(file))
    config = place.root / "nginx.conf"
    config.write_text(
        NGINX.format(
            root=place.root, user="user root;" if os.geteuid() == 0 else "", port=port, file=FILE,
            place=file, commit=sha256[:40], sha256=sha256, size=SIZE,
        )
    )  # fmt: skip
    process = subprocess.Popen([nginx, "-c", str(config), "-p", str(place.root)])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    return process, f"http://127.0.0.1:{port}"


def _contestants(
    servers: list[Server],
    clients: Callable[[Server], Contestant],
) -> list[Contestant]:
    """Return one contestant a server, with what the server took."""
    made = []
    for server in servers:
        one = clients(server)
        began: list[float] = []

        def before(one: Contestant = one, server: Server = server, b: list[float] = began) -> None:
            one.before()
            b[:] = [server.cpu()]

        def check(
            run: Run, one: Contestant = one, server: Server = server, b: list[float] = began
        ) -> dict[str, float]:
            taken = server.cpu() - b[0]
            one.check(run)
            return {"server's CPU, s": taken}

        made.append(
            Contestant(
                name=one.name,
                argv=one.argv,
                role="cas" if server.name == "cas serve" else "peer",
                env=one.env,
                cwd=one.cwd,
                before=before,
                check=check,
            )
        )
    return made


@contextmanager
def one_client(place: Place) -> Iterator[list[Contestant]]:
    """Fetch one large file by `hf download`."""
    with _servers(place) as servers:
        sha256 = hash_file(
            Path(place.run(CAS, "path", "large.bin", cwd=place.root / "project").strip())
        )

        def client(server: Server) -> Contestant:
            def check(_: Run) -> None:
                if hash_file(place.root / "got/large.bin") != sha256:
                    raise NotDone(f"hf download from {server.name}: other bytes came")

            return Contestant(
                name=f"hf download, from {server.name}",
                argv=[PYTHON, "-c", HF, "download", "large.bin", "large.bin", "--local-dir", "got"],
                env=place.env(HF_ENDPOINT=server.url),
                cwd=place.root,
                before=lambda: place.clear("got", "hf"),
                check=check,
            )

        yield _contestants(servers, client)


@contextmanager
def many_clients(place: Place) -> Iterator[list[Contestant]]:
    """Let many clients fetch at once."""
    if not shutil.which("curl"):
        raise NotDone("curl is not installed")
    with _servers(place) as servers:

        def client(server: Server) -> Contestant:
            def check(run: Run) -> None:
                if run.stdout.split() != [str(PART)] * CLIENTS:
                    raise NotDone(f"{server.name}: {run.stderr[-400:]}")

            words = [str(CLIENTS), str(PART - 1), f"{server.url}/{FILE}"]
            return Contestant(
                name=f"{CLIENTS} × curl, from {server.name}",
                argv=["/bin/sh", "-c", MANY, "many", *words],
                env=place.env(),
                cwd=place.root,
                check=check,
            )

        yield _contestants(servers, client)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""What others keep at the same cut: the Hub's own client, and DVC where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .box import ROOT
from .disks import Disk, disk
from .scenarios import FIRST

if TYPE_CHECKING:
    from tests.hubserver import Hub

DVC = ROOT / ".bench/dvc/bin/dvc"
_DOWNLOAD = "import sys, huggingface_hub as h; print(h.snapshot_download(sys.argv[1]))"


@dataclass(slots=True)
class Kept:
    """How one peer came out of its cuts."""

    peer: str
    cuts: int = 0
    whole: int = 0
    """Cuts after which everything that it had acknowledged was there."""
    wrong: int = 0
    """Cuts after which the same command said 0 and gave wrong bytes, or a person's own file
    had others."""


def peers() -> list[str]:
    """Return whom to compare with: those that are installed."""
    return ["huggingface_hub", *(["dvc add"] if DVC.exists() else [])]


def cut_peer(peer: str, kind: str, hub: Hub, wait: float, kept: Kept) -> None:
    """Let a peer finish, cut the power, and count what it kept."""
    kept.cuts += 1
    with disk(kind) as made, tempfile.TemporaryDirectory(prefix="proof-home-") as home:
        whole, wrong = (_hub_client if peer == "huggingface_hub" else _dvc)(made, hub, home, wait)
    kept.whole += whole
    kept.wrong += wrong


def _hub_client(made: Disk, hub: Hub, home: str, wait: float) -> tuple[bool, bool]:
    name = f"peer/m-{os.urandom(4).hex()}"
    hub.repo(name).commit(FIRST, "one")
    env = _env(home) | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": f"{made.mount}/hf"}
    made.settle()
    argv = [sys.executable, "-c", _DOWNLOAD, name]
    place = Path(subprocess.run(argv, env=env, check=True, capture_output=True, text=True,
                                cwd=home).stdout.strip())  # fmt: skip
    time.sleep(wait)
    made.cut()
    whole = _has_first(place)
    again = subprocess.run(argv, env=env, capture_output=True, text=True, cwd=home)
    return whole, again.returncode == 0 and not _has_first(Path(again.stdout.strip()))


def _has_first(place: Path) -> bool:
    try:
        return all((place / path).read_bytes() == data for path, data in FIRST.items())
    except OSError:
        return False


def _dvc(made: Disk, hub: Hub, home: str, wait: float) -> tuple[bool, bool]:
    env = _env(home) | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": home}
    project = made.mount / "project"
    project.mkdir()
    data = FIRST["weights.bin"]
    (project / "weights.bin").write_bytes(data)
    subprocess.run([DVC, "init", "-q", "--no-scm"], cwd=project, env=env, check=True)
    made.settle()
    subprocess.run([DVC, "add", "-q", "weights.bin"], cwd=project, env=env, check=True)
    time.sleep(wait)
    made.cut()
    own = _same(project / "weights.bin", data)
    cached = [p for p in (project / ".dvc/cache").rglob("*") if p.is_file()]
    note = project / "weights.bin.dvc"
    noted = note.exists() and b"md5" in note.read_bytes()
    return own and noted and any(_same(p, data) for p in cached), not own


def _same(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def _env(home: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip

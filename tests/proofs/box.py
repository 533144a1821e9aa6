"""A box: a project, a store and a home of their own, which can be saved and put back.

Views and roots hold absolute paths, so a box is put back where it was made.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import shim

if TYPE_CHECKING:
    from .shim import Done, Fault

Argv = tuple[str, ...]
ROOT = Path(__file__).resolve().parents[2]


def freeze(target: Path) -> Path:
    """Copy the package cas to *target*, compiled, so that a run tests one state of it."""
    source = Path(__import__("cas").__file__).resolve().parent
    shutil.copytree(source, target / "cas", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(target / "cas", quiet=2)
    return target


@dataclass(frozen=True, slots=True)
class Box:
    """One sandbox; *code* is a directory that holds the package to test."""

    top: Path
    code: Path
    endpoint: str
    home: Path | None = None
    """The user's home, where it lies elsewhere."""

    @property
    def root(self) -> Path:
        return self.top / "box"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def store(self) -> Path:
        return self.root / "store"

    def env(self) -> dict[str, str]:
        """Return the environment of its commands."""
        home = self.home or self.root / "home"
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.code),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "CAS_STORE": str(self.store),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "LANG": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }

    def make(self) -> None:
        """Make it, empty, with a project in it."""
        self.project.mkdir(parents=True)
        (self.home or self.root / "home").mkdir(exist_ok=True)
        self.must("init")

    def cas(
        self, *words: str, fault: Fault | None = None, trace: bool = False, under: Argv = ()
    ) -> Done:
        """Run one command in the project; *under* is what runs it, as ``strace …``."""
        argv = [*under, sys.executable, "-m", "cas", *words]
        return shim.run(
            argv, env=self.env(), cwd=self.project, root=self.root, fault=fault, trace=trace
        )

    def must(self, *words: str) -> Done:
        """Run one that has to end in 0."""
        done = self.cas(*words)
        assert done.code == 0, f"cas {' '.join(words)}: exit {done.code}\n{done.err}"
        return done

    def save(self) -> None:
        """Remember it as it is."""
        subprocess.run(["cp", "-a", "--reflink=auto", self.root, self.top / "saved"], check=True)

    def restore(self) -> None:
        """Put it back as it was saved."""
        if os.geteuid():  # a tree's directories are 0555
            subprocess.run(["chmod", "-R", "u+w", self.root], stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", self.root], check=True)
        subprocess.run(["cp", "-a", "--reflink=auto", self.top / "saved", self.root], check=True)

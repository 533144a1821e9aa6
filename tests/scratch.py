"""Where cas, huggingface_hub and the shell keep things, all of it below one directory."""

from __future__ import annotations

from pathlib import Path

import pytest

import cas
from cas.project import forget_current

_PLACES = {
    "HOME": "home",
    "CAS_STORE": "store",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "HF_HOME": "hf",
}


def homes(top: Path) -> dict[str, str]:
    """Return the environment that keeps a process below *top*."""
    return {name: str(top / place) for name, place in _PLACES.items()}


def move_in(patch: pytest.MonkeyPatch, top: Path) -> None:
    """Keep this process below *top*."""
    for name, place in homes(top).items():
        patch.setenv(name, place)
    patch.delenv("CAS_PROJECT", raising=False)


def new_project(patch: pytest.MonkeyPatch, top: Path, *assets: str) -> Path:
    """Make a project of local datasets, a file each, and make it the working directory."""
    move_in(patch, top)
    root = top / "p"
    root.mkdir()
    patch.chdir(root)
    cas.init()
    for name in assets:
        (root / f"{name}.txt").write_text(name)
        cas.add(f"./{name}.txt", name=f"datasets/{name}")
    forget_current()
    return root

"""What the Hub says that it has: one repository at one commit, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cas.digest import Digest

__all__ = ["KINDS", "HubFile", "Kind", "Snapshot", "web_path"]

Kind = Literal["model", "dataset", "space"]

KINDS: tuple[Kind, ...] = ("model", "dataset", "space")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository, as the Hub lists it."""

    path: str
    size: int
    """bytes"""
    sha256: Digest | None
    """Known for LFS and Xet files; the others have to be read to know it."""
    git_sha1: str
    """Git's name of the blob, 40 hexadecimal digits; of an LFS file, that of its pointer."""
    xet: str | None
    """The Xet hash, where the Hub keeps the file there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One repository at one commit. Every name, size and hash in it has been checked."""

    kind: Kind
    repo: str
    """The Hub's own name for it, after redirects."""
    commit: str
    """40 hexadecimal digits."""
    files: tuple[HubFile, ...]
    """Sorted by path; what the patterns left out is not among them."""
    access: Literal["gated", "private"] | None


def web_path(kind: Kind, repo: str) -> str:
    """Return where on the Hub the repository's page and files are: ``datasets/org/name``."""
    return repo if kind == "model" else f"{kind}s/{repo}"

"""Ask git: from the directory that it runs a hook in, with the environment that it gave."""

from __future__ import annotations

import subprocess

from cas.errors import CasError

__all__ = ["GitFailed", "git", "git_text", "merge_text"]

SECONDS = 120  # a repository of millions of files on a cold disk takes that long


class GitFailed(CasError):
    """Git is not there, or refused."""


def git(*words: str, at: str | None = None, given: bytes = b"") -> bytes:
    """Return what git prints; *at* is the directory, by default the working directory.

    Raises GitFailed with the last line that git said.
    """
    place = ["-C", at] if at is not None else []
    try:
        done = subprocess.run(
            ["git", *place, *words], input=given, capture_output=True, timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        raise GitFailed("the command git is not there", hint="apt install git") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git can't be asked: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitFailed(f"git {words[0]}: {said[-1] if said else f'exit {done.returncode}'}")
    return done.stdout


def git_text(*words: str, at: str | None = None) -> str | None:
    """Return the line that git prints; None where it says that there is nothing."""
    try:
        return git(*words, at=at).decode("utf-8", "surrogateescape").rstrip("\n")
    except GitFailed:
        return None


def merge_text(base: str, ours: str, theirs: str) -> bytes:
    """Return git's merge of three files as text, with what the base had in each conflict."""
    labels = ("-L", "ours", "-L", "base", "-L", "theirs")
    try:
        done = subprocess.run(
            ["git", "merge-file", "-p", "--diff3", *labels, ours, base, theirs],
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git can't be asked: {error}") from None
    if done.returncode > 127:  # below it is the number of conflicts
        raise GitFailed("git merge-file: the files can't be merged as text")
    return done.stdout

"""Stores for tests: made through the public functions, by this process or by others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from cas import store as S
from cas.listing import Listing

REPOSITORY = Path(__file__).resolve().parent.parent
NOBODY = 65534

HEAD = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from cas import store as S
from cas.files import *
from cas.listing import Listing
from tests.stores import add, pins
"""


def add(store, files, origin=None, *, move=False):
    """Put files (path in the tree → bytes, or a Path to import) into the store; return a digest."""
    staging, publisher = S.Staging(store), S.Publisher(store)
    entries = []
    for name, data in files.items():
        if isinstance(data, bytes):
            entries.append((name, S.add_bytes(store, staging, data, publisher)))
        else:
            sums = S.add_file(store, staging, publisher, os.fspath(data), move=move)
            entries.append((name, sums.sha256))
    publisher.flush()
    listing = Listing.of(entries)
    S.add_bytes(store, staging, listing.data(), publisher)
    publisher.flush()
    S.build(store, listing, origin or {"hub": {"kind": "model", "repo": "a/b", "commit": "0" * 40}})
    return listing.digest


def pins(store, root, trees, path="/nowhere", experiments=()):
    """Let a project need trees."""
    S.settle(store, root, path=path, lock=None, trees=trees, experiments=experiments)


def collect(store, **more):
    """Run gc with no project on this machine unless *more* says otherwise."""
    more.setdefault("project_holds", lambda path: None)
    more.setdefault("root_of", lambda path: None)
    return S.collect(store, **more)


def whole(store):
    """Say what a full verify finds."""
    return [(bad.hash[:8], bad.reason) for bad in S.verify(store, level="full").bad]


def files_of(store):
    """Return every path in the store that is not a directory."""
    found = []
    for place, _, names in os.walk(store.root):
        found += [os.path.relpath(os.path.join(place, name), store.root) for name in names]
    return sorted(found)


def program(code, *words, strace=(), user=None, home=None, check=True, umask=None, timeout=60):
    """Run Python code in a process of its own; with *strace* under its injections."""
    command = [sys.executable, "-c", HEAD + code, *map(str, words)]
    if strace:
        if not shutil.which("strace"):
            pytest.skip("strace is not here")
        inject = [word for rule in strace for word in ("-e", rule)]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, *command]
    env = {"PATH": os.environ["PATH"], "HOME": str(home or os.environ.get("HOME", "/"))}
    env["XDG_CACHE_HOME"] = str(home or os.environ.get("XDG_CACHE_HOME", "/nonexistent"))
    more = {"umask": umask} if umask is not None else {}
    if user is not None:
        more |= {"user": user, "group": user, "extra_groups": []}
    if user is not None and not readable_by(user):
        pytest.skip(f"{sys.executable} can't be run by another user")
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=timeout, cwd="/", **more
    )
    if check and done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return done


@cache
def readable_by(uid):
    """Say whether that user can run this interpreter."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import cas"], user=uid, group=uid, extra_groups=[], check=False
        )
    except PermissionError:
        return False
    return done.returncode == 0


@contextmanager
def ordinary_place():
    """Yield (a directory that an ordinary user can write, its uid)."""
    place = Path(tempfile.mkdtemp(prefix="cas-", dir="/tmp"))
    uid = os.getuid() or NOBODY
    os.chown(place, uid, -1)
    place.chmod(0o755)
    try:
        yield place, uid
    finally:
        subprocess.run(["chmod", "-R", "u+w", place], check=False)
        shutil.rmtree(place, ignore_errors=True)


def remove(path):
    """Remove a store's directory with its read-only trees."""
    from cas.files import discard

    discard(path)


def processes(group):
    """Return the processes of a group that run, and don't only wait to be buried."""
    found = []
    for at in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = at.read_text().rpartition(") ")[2].split()[:3]
        except OSError:
            continue
        if int(its) == group and state != "Z":
            found.append(int(at.parent.name))
    return found

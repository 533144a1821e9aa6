"""The place of a run: its directory, and the environment that leads a program to it.

::

    <temporary directory>/cas-<uid>/.cas-<host>-<pid>-<random>/
        project, assets.lock, uses/      the ledger (``cas.project.ledger``)
        hub/                             the cache view

It is the user's own, goes with the run, and what a killed one left goes with the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cas import warm
from cas.errors import CasError
from cas.files import discard, sweep, temporary_name
from cas.names import kind_of
from cas.request import HubRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.lockfile import Lockfile

__all__ = ["arrow_cache", "environment", "place_of_run"]

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
PATIENT = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
A_DAY = "86400"


@contextmanager
def place_of_run(root: str, past: bytes | None) -> Iterator[str]:
    """Make the directory of a run of the project at *root*, and remove it at the end.

    *past* is the lock of ``--at``. Raises CasError where no directory of ours can be made.
    """
    top = os.path.join(tempfile.gettempdir(), f"cas-{os.geteuid()}")
    try:
        os.mkdir(top, 0o700)
    except FileExistsError:
        status = os.lstat(top)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise CasError(
                f"{top!r} is another user's", hint="TMPDIR=DIR names another directory"
            ) from None
        os.chmod(top, 0o700)
    sweep(top)
    directory = os.path.join(top, temporary_name())
    os.mkdir(directory, 0o700)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)  # cleaners of temporary directories leave it alone
        for name in ("uses", "hub"):
            os.mkdir(os.path.join(directory, name), 0o700)
        if past is not None:
            _write(os.path.join(directory, "assets.lock"), past)
        _write(os.path.join(directory, "project"), root.encode("utf-8", "surrogateescape"))
        yield directory
    finally:
        os.close(held)
        discard(directory)


def environment(
    directory: str, root: str, port: int, lock: Lockfile, *, patient: bool
) -> dict[str, str]:
    """Return the environment of the program; HF_HOME, where the token is, stays as it is.

    *patient*: an answer may take as long as a download. The program is not offline, whatever
    the user's switch says: what it asks is on this machine, and the run heeds the switch.
    """
    told = {name: text for name, text in os.environ.items() if name not in OFFLINE}
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [told[name]] if told.get(name) else []
        told[name] = ",".join([*hosts, "127.0.0.1", "localhost"])
    if patient:
        told |= dict.fromkeys(PATIENT, A_DAY)
    return told | {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HUB_CACHE": os.path.join(directory, "hub"),
        "HF_DATASETS_CACHE": arrow_cache(lock),
        "CAS_PROJECT": root,
        "CAS_RUN": directory,
    }


def arrow_cache(lock: Lockfile) -> str:
    """Return where the Arrow files of the locked datasets go.

    ``datasets`` keys them by commit. A commit decides a whole repository and not the part of
    it that a request with patterns takes, so those trees are part of the directory's name.
    """
    parts = [
        f"{asset.name} {asset.tree_id}\n"
        for asset in sorted(lock, key=lambda one: one.name)
        if kind_of(asset.name) == "datasets"
        and isinstance(asset.request, HubRequest)
        and (asset.request.include or asset.request.exclude)
    ]
    key = hashlib.sha256("".join(parts).encode()).hexdigest()[:32] if parts else "whole"
    if named := os.environ.get("HF_DATASETS_CACHE"):
        return os.path.join(os.path.abspath(os.path.expanduser(named)), f"cas-{key}")
    if home := os.environ.get("HF_HOME"):
        return os.path.join(os.path.abspath(os.path.expanduser(home)), "datasets", f"cas-{key}")
    return os.path.join(warm.make_cache_dir("arrow"), f"hub-{key}")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)

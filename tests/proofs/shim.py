"""Run a command with `faults.c` preloaded: trace its calls, or strike one of them."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).with_name("faults.c")
SECONDS = 120  # a command that takes longer hangs


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the shim saw it."""

    kind: str
    n: int
    """Of its kind, from 1."""
    result: int
    error: int
    inode: int
    path: str
    other: str

    def __str__(self) -> str:
        return f"{self.kind}#{self.n} {self.path}" + (f" -> {self.other}" if self.other else "")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to happen at one call."""

    kind: str
    n: int
    do: str
    """``kill``, ``stop``, ``short``, or an errno's number."""
    then: tuple[str, ...] = ()
    """The kinds of later calls that get the same errno."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    calls: tuple[Call, ...] = ()
    """All of them, or the one that was struck and what followed from it."""


@functools.cache
def library() -> Path | None:
    """Return the compiled library, or None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or os.uname().sysname != "Linux":
        return None
    folder = Path(tempfile.mkdtemp(prefix="proof-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "faults.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull-compare"]
    subprocess.run([compiler, *flags, "-o", made, SOURCE, "-ldl"], check=True)
    return made


def run(
    argv: list[str],
    *,
    env: dict[str, str],
    cwd: Path,
    root: Path,
    fault: Fault | None = None,
    trace: bool = False,
) -> Done:
    """Run a command; *root* is the directory below which calls are seen."""
    if fault is None and not trace:
        return _run(argv, env, cwd)
    with _preloaded(env, root, fault, trace=trace) as (env, log):
        done = _run(argv, env, cwd)
        return Done(done.code, done.out, done.err, tuple(_calls(log)))


@contextmanager
def started(
    argv: list[str], *, env: dict[str, str], cwd: Path, root: Path, fault: Fault
) -> Iterator[subprocess.Popen[str]]:
    """Start a command and leave it to the caller, who waits for its ``stop``; kill it at last."""
    with _preloaded(env, root, fault, trace=False) as (env, _):
        process = popen(argv, env, cwd)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextmanager
def _preloaded(
    env: dict[str, str], root: Path, fault: Fault | None, *, trace: bool
) -> Iterator[tuple[dict[str, str], Path]]:
    """Yield the environment that preloads the library, and where its log will be."""
    made = library()
    assert made is not None, "there is no C compiler"
    with tempfile.TemporaryDirectory(prefix="proof-call-") as scratch:
        counts, log = Path(scratch, "counts"), Path(scratch, "log")
        counts.write_bytes(bytes(256))
        env = env | {
            "LD_PRELOAD": str(made),
            "PROOF_ROOT": str(root),
            "PROOF_COUNTS": str(counts),
            "PROOF_LOG": str(log),
        }
        if trace:
            env["PROOF_ALL"] = "1"
        if fault:
            env |= {"PROOF_KIND": fault.kind, "PROOF_AT": str(fault.n), "PROOF_DO": fault.do}
            if fault.then:
                env["PROOF_THEN"] = f",{','.join(fault.then)},"
        yield env, log


def _run(argv: list[str], env: dict[str, str], cwd: Path) -> Done:
    process = popen(argv, env, cwd)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Done(-999, out, err + f"\n(it was killed after {SECONDS} s)")
    return Done(process.returncode, out, err)


def popen(argv: list[str], env: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip


def _calls(log: Path) -> list[Call]:
    if not log.exists():
        return []
    found = []
    for line in log.read_text(errors="replace").splitlines():
        kind, n, result, error, inode, path, other = line.split("\t")
        path, other = (os.path.normpath(p) if p else "" for p in (path, other))
        found.append(Call(kind, int(n), int(result), int(error), int(inode), path, other))
    return found

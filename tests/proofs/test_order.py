"""Names come after the syncs of what they name; and the trace that says so misses no call."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pytest

from . import report
from .order import missing_syncs
from .scenarios import SCENARIOS
from .sweep import CHANGES, Result, kill_points, resumed_sweep, spread, stage

# how strace names what the shim counts under one kind
STRACED = {
    "rename": "rename", "renameat": "rename", "renameat2": "rename",
    "link": "link", "linkat": "link", "symlink": "symlink", "symlinkat": "symlink",
    "unlink": "unlink", "rmdir": "rmdir", "mkdir": "mkdir", "mkdirat": "mkdir",
    "chmod": "chmod", "fchmod": "chmod", "fchmodat": "chmod", "utimensat": "utime",
    "fsync": "fsync", "fdatasync": "fdatasync", "syncfs": "syncfs",
    "ftruncate": "truncate", "truncate": "truncate", "write": "write", "pwrite64": "pwrite",
    "copy_file_range": "copy", "sendfile": "copy", "fallocate": "allocate",
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_gets_a_name_was_synced_and_so_is_the_name(name, hub, code, record_property):
    with stage(SCENARIOS[name], hub, code) as at:
        published, missing = missing_syncs(at.box, at.calls)
    report.record(record_property, Result("order of syncs", published, 0, missing))
    assert not missing, "\n".join(missing)
    assert published


def resumed(name, hub, code, record_property, share):
    with stage(SCENARIOS[name], hub, code) as at:
        result = resumed_sweep(at, spread(kill_points(at), share, offset=5 * len(name)))
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)


@pytest.mark.parametrize("name", ["pull-moved", "add"])
def test_who_goes_on_after_a_kill_syncs_what_was_named(name, hub, code, record_property):
    resumed(name, hub, code, record_property, 12)


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_so_does_it_after_every_kill(name, hub, code, record_property):
    resumed(name, hub, code, record_property, 2)


@pytest.mark.parametrize("name", ["pull", "adopt", "gc"])
def test_the_shim_sees_what_strace_sees(name, hub, code, tmp_path):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    with stage(SCENARIOS[name], hub, code) as at:
        at.box.restore()
        log = tmp_path / "strace"
        calls = ",".join((*STRACED, "open", "openat", "unlinkat"))
        under = ("strace", "-f", "-y", "-qq", "-s", "0", "-o", str(log), "-e", f"trace={calls}")
        done = at.box.cas(*at.scenario.words, trace=True, under=under)
        if done.code:
            pytest.skip(f"strace can't trace here: {done.err[-200:]}")
        theirs = straced(log.read_text(errors="replace"), str(at.box.root))
        ours = Counter(call.kind for call in done.calls if call.kind in CHANGES)
    assert ours == theirs


def straced(text: str, root: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in text.splitlines():
        match = re.match(r"\d+\s+(\w+)\((.*)", line)
        if not match or root not in line or "proof-call-" in line:
            continue
        call, rest = match.groups()
        if call in ("open", "openat"):
            if not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", rest):
                continue
            kind = "create" if "O_CREAT" in rest else "open"
        elif call == "unlinkat":
            kind = "rmdir" if "AT_REMOVEDIR" in rest else "unlink"
        else:
            kind = STRACED[call]
        found[kind] += 1
    return found

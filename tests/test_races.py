"""Many processes at once on one store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.hubserver import Hub

CAS = [sys.executable, "-m", "cas"]


@pytest.fixture
def locked(tmp_path: Path):
    """A project that locks 41 files of a Hub, and the environment of a store without them."""
    with Hub() as hub:
        repo = hub.repo("org/data", kind="dataset", lfs_over=1000)
        repo.commit({**repo.generate(40, 16_000), "big.bin": os.urandom(3_000_000)})
        env = os.environ | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "CAS_STORE": str(tmp_path / "first"),
        }
        project = tmp_path / "project"
        subprocess.run([*CAS, "init", str(project)], env=env, check=True, capture_output=True)
        subprocess.run(
            [*CAS, "add", "dataset:org/data", "--no-pull"],
            cwd=project, env=env, check=True, capture_output=True,
        )  # fmt: skip
        hub.reset_log()
        yield project, env | {"CAS_STORE": str(tmp_path / "store")}, hub


def copies(project: Path, count: int) -> list[Path]:
    places = [project.parent / f"copy{n}" for n in range(count)]
    for place in places:
        place.mkdir()
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(project / name, place / name)
    return places


def pull(place: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*CAS, "pull"], cwd=place, env=env, text=True, stderr=subprocess.PIPE
    )  # fmt: skip


def test_many_pulls_of_one_asset_make_one_download(locked):
    project, env, hub = locked
    hub.latency = 0.01
    running = [pull(place, env) for place in copies(project, 16)]
    said = [one.communicate()[1] for one in running]
    assert {one.returncode for one in running} == {0}, said
    assert Counter(record.kind for record in hub.log)["cdn"] == 41
    assert sum("waiting for that" in text for text in said) == 15
    done = subprocess.run(
        [*CAS, "verify", "--full"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done


def test_a_pull_goes_on_alone_when_the_one_that_downloads_is_stopped(locked):
    project, env, hub = locked
    first, second = copies(project, 2)
    hub.fault("stall", path="big.bin", seconds=60, times=1)
    stopped = pull(first, env)
    try:
        while not any(record.fault == "stall" for record in hub.log):
            assert stopped.poll() is None, stopped.communicate()
        stopped.send_signal(19)  # SIGSTOP: it holds its turn, and makes no progress
        code = "import sys, cas.store.turn as t; t.STUCK = 1.0; from cas.__main__ import main; "
        done = subprocess.run(
            [sys.executable, "-c", f"{code}sys.argv = ['cas', 'pull']; sys.exit(main())"],
            cwd=second, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        assert "going on alone" in done.stderr
    finally:
        stopped.kill()
        stopped.communicate()
    assert (second / "assets/datasets/org/data/big.bin").stat().st_size == 3_000_000

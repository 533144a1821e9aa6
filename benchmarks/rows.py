"""The rows: what is measured, how often, and on how much."""

# ruff: noqa: RUF001 - tables have a multiplication sign

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from . import (
    adds,
    batches,
    bpe,
    experiments,
    noops,
    programs,
    pulls,
    remotes,
    saves,
    served,
    shards,
    stores,
)
from .place import LOOP_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .measure import Contestant
    from .place import Place


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    title: str
    runs: int
    make: Callable[[Place], AbstractContextManager[list[Contestant]]]
    small_files: bool = False
    """Whether it wants a file system that makes inodes quickly."""
    work: dict[str, int] = field(default_factory=dict)
    """``bytes`` and ``files`` that one run moves, for the rates."""
    memory: int = 0
    """bytes of free memory that are touched before each run, see ``measure``"""
    disk: int = LOOP_SIZE
    """bytes that the file system of small files may grow to"""
    inodes: int | None = None
    """of that file system; None: as many as it would have"""


ROWS: dict[str, Row] = {
    "noop": Row(
        title="`cas pull` where all is in place, 10 assets of 10 files",
        runs=40,
        make=noops.noop,
    ),
    "noop-many": Row(
        title="the same with 100,000 files in all, and with 1,000 assets",
        runs=20,
        make=noops.noop_many,
        small_files=True,
        inodes=700_000,
    ),
    "import": Row(title="`import cas`, and `cas.path()`", runs=40, make=noops.imports),
    "run": Row(
        title="`cas run` of a program that does nothing, 10 assets of 10 files",
        runs=40,
        make=programs.run,
    ),
    "serve-one": Row(
        title="one file of 1 GiB, from `cas serve` and from nginx, by `hf download`",
        runs=5,
        make=served.one_client,
        work={"bytes": served.SIZE},
    ),
    "serve-many": Row(
        title="64 clients at once, 64 MiB each, from `cas serve` and from nginx",
        runs=5,
        make=served.many_clients,
        work={"bytes": served.CLIENTS * served.PART},
    ),
    "push-large": Row(
        title="pushing one file of 1 GiB to an S3 server",
        runs=3,
        make=remotes.push_large,
        work={"bytes": remotes.LARGE},
        memory=5 << 30,
    ),
    "pull-large": Row(
        title="pulling one file of 1 GiB from an S3 server",
        runs=3,
        make=remotes.pull_large,
        work={"bytes": remotes.LARGE},
        memory=5 << 30,
    ),
    "push-small": Row(
        title="pushing 5,000 × 4 KB to an S3 server",
        runs=3,
        make=remotes.push_small,
        work={"files": remotes.FILES},
    ),
    "pull-small": Row(
        title="pulling 5,000 × 4 KB from an S3 server",
        runs=3,
        make=remotes.pull_small,
        work={"files": remotes.FILES},
    ),
    "push-again": Row(
        title="pushing 5,000 × 4 KB that are all there",
        runs=5,
        make=remotes.push_again,
        work={"files": remotes.FILES},
    ),
    "push-again-many": Row(
        title="pushing 100,000 × 64 B that are all there",
        runs=3,
        make=remotes.push_again_many,
        small_files=True,
        inodes=800_000,
        work={"files": remotes.MANY},
    ),
    "cold-small": Row(
        title="a locked dataset of 2,000 × 16 KB, nothing here",
        runs=5,
        make=pulls.cold_small,
        small_files=True,
        work={"files": 2000},
    ),
    "cold-large": Row(
        title="a locked dataset of one file of 1 GiB, nothing here",
        runs=5,
        make=pulls.cold_large,
        work={"bytes": 1 << 30},
        memory=5 << 30,
    ),
    "cold-small-20k": Row(
        title="a locked dataset of 20,000 × 16 KB, nothing here",
        runs=1,
        make=partial(pulls.cold_small, count=20_000),
        small_files=True,
        work={"files": 20_000},
    ),
    "cold-large-4g": Row(
        title="a locked dataset of one file of 4 GiB, nothing here",
        runs=1,
        make=partial(pulls.cold_large, size=4 << 30),
        work={"bytes": 4 << 30},
        memory=8 << 30,
    ),
    "memory-large": Row(
        title="the memory of a pull of 10 GiB in one file",
        runs=1,
        make=partial(pulls.cold_large, size=10 << 30, peers=False),
        work={"bytes": 10 << 30},
    ),
    "memory-files": Row(
        title="the memory of a pull of 100,000 files",
        runs=1,
        make=partial(pulls.cold_small, count=100_000, size=1024, peers=False),
        small_files=True,
        work={"files": 100_000},
        disk=8 << 30,
    ),
    "add-large": Row(
        title="adding a local file of 2 GiB",
        runs=5,
        make=adds.add_large,
        work={"bytes": 2 << 30},
        memory=5 << 30,
    ),
    "add-small": Row(
        title="adding a local directory of 20,000 × 1 KB",
        runs=5,
        make=adds.add_small,
        small_files=True,
        work={"files": 20_000},
    ),
    "second-project": Row(
        title="a second project with the same lock, 10 assets of 1,000 × 1 KB",
        runs=5,
        make=pulls.second_project,
        small_files=True,
        work={"files": 10_000},
    ),
    "second-project-100k": Row(
        title="a second project with the same lock, 100,000 × 1 KB in the store",
        runs=1,
        make=stores.second_project_100k,
        small_files=True,
        disk=8 << 30,
        inodes=1_000_000,
    ),
    "switch": Row(
        title="a lock that moves a view to another tree that is here",
        runs=10,
        make=stores.switch,
        small_files=True,
        inodes=700_000,
    ),
    "verify-large": Row(
        title="reading back 4 × 512 MiB, in memory",
        runs=5,
        make=partial(stores.verify, large=True),
        work={"bytes": 2 << 30},
    ),
    "verify-small": Row(
        title="reading back 20,000 × 1 KB, in memory",
        runs=5,
        make=partial(stores.verify, large=False),
        small_files=True,
        work={"files": 20_000},
    ),
    "lock-100k": Row(
        title="`cas lock` of a repository of 100,000 LFS files",
        runs=3,
        make=stores.lock,
        small_files=True,
        inodes=500_000,
    ),
    "bpe": Row(
        title="byte-level BPE of 4,096 tokens, trained on 400 MB of stories",
        runs=3,
        make=bpe.training,
        work={"bytes": bpe.TEXT},
    ),
    "shards": Row(
        title="400 MB of stories, encoded with a tokenizer of 4,096 tokens",
        runs=3,
        make=shards.shards,
        work={"bytes": shards.TEXT},
    ),
    "batches-packed": Row(
        title="batches of 16 × 256, packed, from 20 MB of stories",
        runs=5,
        make=partial(batches.batches, mode="packed"),
    ),
    "batches-padded": Row(
        title="batches of 16 × 256, one story a row",
        runs=5,
        make=partial(batches.batches, mode="padded"),
    ),
    "first-batch": Row(
        title="the first batch, shards there, from the moment that torch is imported",
        runs=7,
        make=batches.first_batch,
    ),
    "training": Row(
        title="a GPT of two layers on stories, 200 steps of 16 × 256",
        runs=1,
        make=batches.training,
    ),
    "save": Row(
        title="one process that saves 20 runs, of 10 rows × 20 columns",
        runs=5,
        make=partial(saves.saves, processes=1, each=saves.ALONE),
    ),
    "saves": Row(
        title="8 processes that save 25 runs each, of 10 rows × 20 columns",
        runs=5,
        make=saves.saves,
    ),
    "index": Row(
        title="the index of 10,000 experiments × 10 rows",
        runs=3,
        make=experiments.index,
    ),
    "leaderboard": Row(
        title="the five best of 10,000 experiments × 10 rows",
        runs=7,
        make=experiments.leaderboard,
    ),
    "query-join": Row(
        title="10,000 experiments joined with what they used, on the tree",
        runs=7,
        make=experiments.query_join,
    ),
    "lineage": Row(
        title="lineage over 10,000 experiments",
        runs=7,
        make=experiments.lineage,
    ),
    "leaderboard-100k": Row(
        title="the five best of 100,000 experiments × 10 rows",
        runs=1,
        make=partial(experiments.leaderboard, count=100_000),
    ),
    "query-join-100k": Row(
        title="100,000 experiments joined with what they used, on the tree",
        runs=1,
        make=partial(experiments.query_join, count=100_000),
    ),
}

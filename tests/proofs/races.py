"""Races: many real processes on one store, some of them killed, drawn by a seeded generator.

Each project has one driver, which runs its commands in turn (``pull`` also several at a time);
``gc`` runs beside them all the time, and the Hub gets commits. After each ``pull`` that ended
in 0 the driver reads every view by hash; a watcher reads them all the while. A command that is
killed is run again, and must then end in 0.

With every mutex a no-op the days are what protects a call: gc runs with its own 14 of them,
and now and then, while nothing runs, 20 days pass by moving all times of the store back.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import shim
from .box import Box
from .crew import Crew, crew
from .days import pass_days
from .oracle import look
from .sweep import Result, scratch
from .views import locked, uncollected, wrong_store, wrong_views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hubserver import Hub, Repo

HANGS = 120.0  # seconds
PROJECTS = 4
LATENCY = 0.03  # seconds of each answer of the Hub: a download lasts, and costs no core
CREW = 3 * PROJECTS + 2  # as many as run at once
REPOS = 3
VARIANTS = 6  # states that a repository goes through, in a circle: what gc took comes back
KILLED = 0.25  # of the commands
SOON = 0.15  # seconds within which a kill comes
LARGE = 41  # files of the asset that many pull at once
SLOW = 0.2  # seconds of each answer of the Hub meanwhile: all have come before it ends
DAYS_PASS = 2.0  # seconds between two times that 20 days pass
SHARED = [random.Random(n).randbytes(1_000 << n) for n in range(6)]


@dataclass(slots=True)
class Raced(Result):
    """What a race found; ``points`` are the commands that ran."""

    kills: int = 0
    gcs: int = 0
    reads: int = 0
    """Times that the watcher read a project's views."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def violate(self, found: list[str]) -> None:
        with self.lock:
            self.violations += found


def race(
    hub: Hub, code: Path, seconds: float, seed: int, *, mutexes: bool = True, first: bool = False
) -> Raced:
    """Race for so long, then let all come to rest and check; *first* ends at a violation."""
    top = Path(tempfile.mkdtemp(prefix="proof-race-", dir=scratch()))
    box = Box(top, code, hub.endpoint)
    box.root.mkdir()
    latency, hub.latency = hub.latency, LATENCY
    try:
        with crew(box, CREW) as hands:
            run = _Race(hub, box, hands, seed, mutexes=mutexes, first=first)
            run.run(seconds)
        return run.result
    finally:
        hub.latency = latency
        subprocess.run(["chmod", "-R", "u+w", top], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(top, ignore_errors=True)


def many_pulls(hub: Hub, code: Path, count: int) -> Result:
    """Pull one asset in so many projects at the same time; each file is to come once."""
    result = Result("many pulls")
    with tempfile.TemporaryDirectory(prefix="proof-pulls-", dir=scratch()) as top:
        box = Box(Path(top), code, hub.endpoint)
        box.make()
        repo = hub.repo(f"race/{os.urandom(4).hex()}", lfs_over=1_000)
        repo.commit({**repo.generate(40, 16_000), "big.bin": os.urandom(3_000_000)})
        box.must("add", f"model:{repo.id}", "--name", "models/m", "--no-pull")
        places = [box.root / f"copy{n}" for n in range(count)]
        for place in places:
            place.mkdir()
            for name in ("assets.lock", "pyproject.toml"):
                shutil.copy(box.project / name, place / name)
        hub.reset_log()
        latency, hub.latency = hub.latency, SLOW
        argv = [sys.executable, "-m", "cas", "pull"]
        running = [shim.popen(argv, box.env(), place) for place in places]
        for place, one in zip(places, running, strict=True):
            told = one.communicate(timeout=600)[1]
            hub.latency = latency  # the first has ended, so the download has
            result.points += 1
            if one.returncode:
                result.violations.append(f"{place.name}: exit {one.returncode}: {told[-300:]}")
        came = Counter(record.file for record in hub.log if record.kind == "cdn")
        result.violations += [f"{path} came {n} times" for path, n in came.items() if n > 1]
        if len(came) != LARGE:
            result.violations.append(f"{len(came)} files came, of {LARGE}")
        result.violations += [wrong for place in places for wrong in wrong_views(place)]
        done = box.cas("verify", "--full")
        if done.code:
            result.violations.append(f"verify --full: exit {done.code}: {done.err[-300:]}")
        subprocess.run(["chmod", "-R", "u+w", top], check=True)
    return result


def content(repo: int, variant: int) -> dict[str, bytes]:
    """Return the files of a state of a repository: its own, and some that others have too."""
    rand = random.Random(repo * 100 + variant)
    shared = rand.sample(range(len(SHARED)), 3)
    return {
        "config.json": b'{"repo": %d, "variant": %d}\n' % (repo, variant),
        "nested/own.bin": rand.randbytes(3_000),
        **{f"shared/{n}.bin": SHARED[n] for n in shared},
    }


class _Race:
    """All that runs in one race."""

    def __init__(
        self, hub: Hub, box: Box, hands: Crew, seed: int, *, mutexes: bool, first: bool
    ) -> None:
        self.hub, self.box, self.crew, self.seed = hub, box, hands, seed
        self.mutexes, self.first = mutexes, first
        self.result = Raced("race" if mutexes else "race without mutexes")
        self.rest = _Rest()
        self.over = threading.Event()
        drawn = os.urandom(4).hex()
        self.repos: list[Repo] = [
            hub.repo(f"race/{drawn}-{n}", lfs_over=10_000) for n in range(REPOS)
        ]
        for n, repo in enumerate(self.repos):
            repo.commit(content(n, 0), "0")
        self.drivers = [_Driver(self, n) for n in range(PROJECTS)]

    def run(self, seconds: float) -> None:
        targets = [driver.drive for driver in self.drivers]
        targets += [self._collect, self._commit, self._watch]
        if not self.mutexes:
            targets.append(self._pass_days)
        threads = [threading.Thread(target=self._guard, args=(one,)) for one in targets]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        if not (self.first and self.result.violations):
            self._come_to_rest()
        self.result.violations = [f"seed {self.seed}: {one}" for one in self.result.violations]

    def violate(self, found: list[str]) -> None:
        if found:
            self.result.violate(found)
            if self.first:
                self.over.set()

    def cas(self, project: Path, *words: str, kill: float | None = None) -> tuple[int, str]:
        """Run one command, and *kill* it after so many seconds; return its code and its words."""
        with self.rest.running():
            until = HANGS if kill is None else kill
            code, told = self.crew.run(project, *words, kill=until)
        if kill is None and code == -signal.SIGKILL:
            code, told = -999, f"it was killed after {HANGS} s: {told}"
        with self.result.lock:
            self.result.points += 1
            self.result.kills += code == -signal.SIGKILL
        return code, told

    def _guard(self, target) -> None:
        try:
            target()
        except Exception as error:
            self.violate([f"the harness failed: {type(error).__name__}: {error}"])
            self.over.set()

    def _collect(self) -> None:
        rand = random.Random(f"{self.seed} gc")
        while not self.over.wait(rand.uniform(0, 0.02)):
            words = ["gc"]
            if self.mutexes and rand.random() < 0.8:
                words += ["--older-than", "0d"]
            if rand.random() < 0.5:
                words.append("--local-too")
            kill = rand.uniform(0, SOON) if rand.random() < KILLED else None
            code, told = self.cas(self.box.root, *words, kill=kill)
            self.result.gcs += code == 0
            if code not in (0, -9) or "Traceback" in told:
                self.violate([f"{' '.join(words)}: exit {code}: {told.strip()[-300:]}"])

    def _commit(self) -> None:
        rand = random.Random(f"{self.seed} commits")
        at = [0] * REPOS
        while not self.over.wait(rand.uniform(0.05, 0.3)):
            n = rand.randrange(REPOS)
            at[n] += 1
            new, old = (content(n, k % VARIANTS) for k in (at[n], at[n] - 1))
            self.repos[n].commit(new, str(at[n]), delete=sorted(old.keys() - new.keys()))

    def _watch(self) -> None:
        while not self.over.is_set():
            for driver in self.drivers:
                with driver.views:
                    if driver.in_step:
                        self.violate([f"watched: {one}" for one in wrong_views(driver.project)])
                        self.result.reads += 1
            time.sleep(0.01)

    def _pass_days(self) -> None:
        while not self.over.wait(DAYS_PASS):
            with self.rest.still():
                pass_days(self.box.store, 20)

    def _come_to_rest(self) -> None:
        for driver in self.drivers:
            driver.must("pull")
        code, told = self.cas(self.drivers[0].project, "verify", "--full")
        if code:
            self.violate([f"verify --full: exit {code}: {told.strip()[-300:]}"])
        code, told = self.cas(self.box.root, "gc", "--older-than", "0d", "--local-too")
        if code:
            self.violate([f"gc: exit {code}: {told.strip()[-300:]}"])
        self.violate(wrong_store(look(self.box)))
        projects = [driver.project for driver in self.drivers]
        self.violate(uncollected(self.box, projects, mutexes=self.mutexes))


class _Driver:
    """Runs the commands of one project."""

    def __init__(self, race: _Race, number: int) -> None:
        self.race = race
        self.number = number
        self.project = race.box.root / f"project{number}"
        self.rand = random.Random(f"{race.seed} {number}")
        self.views = threading.Lock()
        self.in_step = False
        """Whether every view has to be as locked now: a pull has ended, and nothing has begun
        since that changes the lock."""

    def drive(self) -> None:
        self.must("init", str(self.project), where=self.race.box.root)
        while not self.race.over.is_set():
            names = sorted(locked(self.project))
            draw = self.rand.random()
            if draw < 0.35 or not names:
                self._add()
            elif draw < 0.6:
                self.must("lock", "--update-all")
            elif draw < 0.75:
                self.must("rm", self.rand.choice(names), again=(0, 1))
            elif draw < 0.8:
                self._lose_views()
            self._pull()

    def must(self, *words: str, again: tuple[int, ...] = (0,), where: Path | None = None) -> None:
        """Run a command, kill it perhaps, and then run it again, which has to succeed."""
        with self.views:
            self.in_step = self.in_step and words[0] == "pull"
        kill = self.rand.uniform(0, SOON) if self.rand.random() < KILLED else None
        code, told = self.race.cas(where or self.project, *words, kill=kill)
        codes: tuple[int, ...] = (0,)
        while code == -signal.SIGKILL:
            codes = again
            code, told = self.race.cas(where or self.project, *words)
        if code not in codes or "Traceback" in told:
            self.race.violate(
                [f"{self.project.name}: {' '.join(words)}: exit {code}: {told[-400:]}"]
            )

    def _add(self) -> None:
        if self.rand.random() < 0.3:
            corpus = self.project / "corpus"
            shutil.rmtree(corpus, ignore_errors=True)
            for path, data in content(self.number, self.rand.randrange(VARIANTS)).items():
                (corpus / path).parent.mkdir(parents=True, exist_ok=True)
                (corpus / path).write_bytes(data)
            self.must("add", "./corpus", "--name", "datasets/corpus")
        else:
            n = self.rand.randrange(REPOS)
            self.must("add", f"model:{self.race.repos[n].id}", "--name", f"models/m{n}")

    def _lose_views(self) -> None:
        with self.views:
            self.in_step = False
            for kind in ("models", "datasets"):
                shutil.rmtree(self.project / "assets" / kind, ignore_errors=True)

    def _pull(self) -> None:
        if self.rand.random() < 0.3:  # a job array
            others = [threading.Thread(target=self.must, args=("pull",)) for _ in range(2)]
            for thread in others:
                thread.start()
            self.must("pull")
            for thread in others:
                thread.join()
        else:
            self.must("pull")
        with self.views:
            self.race.violate([f"after pull: {one}" for one in wrong_views(self.project)])
            self.in_step = True


class _Rest:
    """Commands run side by side; time passes only while none does."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._count = 0
        self._waiting = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._waiting)
            self._count += 1
        try:
            yield
        finally:
            with self._turn:
                self._count -= 1
                self._turn.notify_all()

    @contextmanager
    def still(self) -> Iterator[None]:
        with self._turn:
            self._waiting += 1
            try:
                self._turn.wait_for(lambda: not self._count)
                yield
            finally:
                self._waiting -= 1
                self._turn.notify_all()

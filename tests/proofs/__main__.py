"""Run all proofs and print one table: harness, points, violations, seeded faults caught.

``--share N`` takes every N-th kill, ``--errors N`` every N-th error, ``--rounds N`` cuts each
command N times, ``--only order,kill,errno,corrupt,power,amid,orders,races,peers,mutants``
runs a part; ``--seed N`` is where the races begin, of ``--seconds N`` each.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hubserver import Hub

from . import days, disks, orders, peers, races, readers, report, sweep
from .alter import HASTE, NO_MUTEX, alter
from .box import freeze
from .mutants import HARNESS, MUTANTS, is_caught
from .order import missing_syncs
from .scenarios import FIRST, SCENARIOS, Scenario
from .sweep import Result

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ("order", "kill", "errno", "corrupt", "power", "amid", "orders", "races", "peers",
         "mutants")  # fmt: skip
WORKERS = 2


class Run:
    """One run of all that was asked for."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        self.given, self.scratch = given, scratch
        self.code = freeze(scratch / "code")
        self.hasty = alter(freeze(scratch / "hasty"), HASTE)
        self.loose = alter(freeze(scratch / "loose"), (*HASTE, *NO_MUTEX))
        self.rows: dict[str, report.Row] = {}
        self.kept: dict[str, peers.Kept] = {}
        self.violations: list[str] = []
        self.late = 0

    def tasks(self) -> list[Callable[[], None]]:
        """Return what is to be done, the longest first."""
        parts = self.given.only.split(",")
        found: list[Callable[[], None]] = []
        if {"kill", "errno", "order", "corrupt"} & set(parts):
            found += [lambda one=one: self._scenario(one, parts) for one in SCENARIOS.values()]
        if "mutants" in parts:
            found += [lambda one=one: self._mutant(one) for one in MUTANTS]
        kinds = [kind for kind in disks.SIZES if not disks.why_not(kind)]
        for kind in kinds if "power" in parts else ():
            for name in disks.ACKNOWLEDGED:
                found.append(lambda kind=kind, name=name: self._power(kind, name))
        for kind in kinds if "amid" in parts else ():
            found += [lambda kind=kind, name=name: self._amid(kind, name) for name in SCENARIOS]
        if "orders" in parts:
            found += [lambda one=one: self._orders(one) for one in orders.ORDERS.values()]
        if "races" in parts:
            found += [self._race, lambda: self._race(mutexes=False), self._readers, self._days]
        for kind in kinds if "peers" in parts else ():
            found += [lambda kind=kind, peer=peer: self._peer(kind, peer) for peer in peers.peers()]
        return found

    def _scenario(self, scenario: Scenario, parts: list[str]) -> None:
        with Hub() as hub, sweep.stage(scenario, hub, self.code) as at:
            if "order" in parts:
                published, missing = missing_syncs(at.box, at.calls)
                self._add(Result("order of syncs", published, 0, missing))
                points = sweep.spread(sweep.kill_points(at), self.given.share)
                self._add(sweep.resumed_sweep(at, points))
            if "corrupt" in parts and scenario.name == "pull":
                self._add(sweep.corrupt_sweep(at, hub, [n for n in FIRST if FIRST[n]]))
            if "kill" in parts:
                points = sweep.spread(sweep.kill_points(at), self.given.share)
                self._add(sweep.kill_sweep(at, points))
            if "errno" in parts:
                errors = sweep.spread(sweep.error_points(at), self.given.errors)
                self._add(sweep.error_sweep(at, errors))

    def _mutant(self, mutant) -> None:
        if mutant.harness in ("power", "amid") and disks.why_not():
            return
        with Hub() as hub, tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            caught = bool(is_caught(mutant, hub, Path(folder)))
        figures = {"harness": HARNESS[mutant.harness], "seeded": 1, "caught": caught}
        report.add(self.rows, figures)
        if not caught:
            self.violations.append(f"not caught: {mutant.name}")

    def _power(self, kind: str, name: str) -> None:
        with Hub() as hub:
            which = [(name, wait) for wait in disks.WAITS] * self.given.rounds
            self._add(disks.cuts(kind, hub, self.code, which))

    def _amid(self, kind: str, name: str) -> None:
        rounds = self.given.rounds
        with Hub() as hub:
            self._add(disks.cuts_amid(kind, hub, self.code, name,
                                      calls=3 * rounds // 4, moments=rounds // 4))  # fmt: skip

    def _orders(self, order: orders.Order) -> None:
        code = self.hasty if order.mutexes else self.loose
        for swapped in (False, True) if order.one != order.two else (False,):
            with Hub() as hub, orders.forced(order, hub, code, swapped=swapped) as at:
                result = orders.order_sweep(at, sweep.spread(list(at.points), self.given.share))
            print(f"{order.name}: waited at {result.waited}", file=sys.stderr, flush=True)
            self._add(result)

    def _race(self, *, mutexes: bool = True) -> None:
        code = self.hasty if mutexes else self.loose
        with Hub() as hub:
            result = races.race(hub, code, self.given.seconds, self.given.seed, mutexes=mutexes)
        print(f"{result.kills} kills, {result.gcs} gcs, {result.reads} reads of all views",
              file=sys.stderr, flush=True)  # fmt: skip
        self._add(result)

    def _readers(self) -> None:
        with Hub() as hub:
            self._add(readers.read_through(hub, self.code, 100))
            self._add(races.many_pulls(hub, self.code, 50))

    def _days(self) -> None:
        found = [one for n in range(20) for one in days.lived(self.code, self.given.seed + n)]
        self._add(Result("days of gc", 20 * 24, 0, found))

    def _peer(self, kind: str, peer: str) -> None:
        for wait in disks.WAITS:
            with Hub() as hub:
                kept = self.kept.setdefault(f"{peer}, {kind}, +{wait:g} s", peers.Kept(peer))
                for _ in range(self.given.rounds):
                    peers.cut_peer(peer, kind, hub, wait, kept)

    def _add(self, result: Result) -> None:
        figures = {"harness": result.harness, "points": result.points, "missed": result.missed}
        report.add(self.rows, figures | {"violations": len(result.violations)})
        self.violations += result.violations
        print(f"{result.harness}: {result.points} points, {len(result.violations)} violations, "
              f"{result.late} with a pull and gc", file=sys.stderr, flush=True)  # fmt: skip
        self.late += result.late


def main() -> int:
    """Run, print the violations on stderr and the table on stdout; 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--errors", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS))
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proofs-") as scratch:
        run = Run(given, Path(scratch))
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(task) for task in run.tasks()]:
                try:
                    done.result()
                except Exception as error:
                    run.violations.append(f"a harness failed: {type(error).__name__}: {error}")
    for one in run.violations:
        print(one, file=sys.stderr)
    print(report.table(run.rows))
    for what, kept in sorted(run.kept.items()):
        print(f"{what}: whole after {kept.whole} of {kept.cuts} cuts, wrong after {kept.wrong}")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[1]:.1f}, {time.monotonic() - began:.0f} s, "
          f"python -m tests.proofs {' '.join(sys.argv[1:])}")  # fmt: skip
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Seeded faults in the rooms of experiments, each of which a named test must find.

A fault is a text that stands once in one file of cas, what stands there instead, and the test
that fails by it. Where the text is gone, cas has changed, and the fault has to be written anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .alter import Change, alter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LIMIT = 600  # seconds that one run of tests may take on a machine that does much else


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """One fault, and the test that finds it."""

    name: str
    file: str
    """Below cas/."""
    old: str
    new: str
    test: str
    """Below tests/, as pytest names it."""

    @property
    def change(self) -> Change:
        return self.file, self.old, self.new


SEEDED = (
    Seeded(name="a record is written in place", file="experiments/record.py",
           old="    files.write_new(path, _parquet(document, moment, table), "
               "mode=0o644 & ~files.umask())\n",
           new="    path.write_bytes(_parquet(document, moment, table))\n",
           test="test_experiments.py::"
                "test_a_record_has_its_name_when_it_is_synced_and_the_name_is_too"),
    Seeded(name="a record is not synced", file="files/write.py",
           old="            os.fsync(fd)\n", new="            pass\n",
           test="test_experiments.py::"
                "test_a_record_has_its_name_when_it_is_synced_and_the_name_is_too"),
    Seeded(name="the name of a record is not synced", file="files/write.py",
           old="        discard(temporary)\n    fsync_dir(directory)\n",
           new="        discard(temporary)\n",
           test="test_experiments.py::"
                "test_a_record_has_its_name_when_it_is_synced_and_the_name_is_too"),
    Seeded(name="ids go back with the clock", file="experiments/naming.py",
           old="max((time.time_ns() * 1024) // 1_000_000, _last_tick + 1)",
           new="(time.time_ns() * 1024) // 1_000_000",
           test="test_experiments.py::test_ids_never_go_back_whatever_the_clock_does"),
    Seeded(name="a large integer among floats loses its digits", file="experiments/columns.py",
           old="                texts[row] = str(number)\n", new="                pass\n",
           test="test_experiments.py::test_numbers_and_text_in_one_column_are_kept_apart"),
    Seeded(name="a statement is not looked at before it runs", file="experiments/query.py",
           old="        _check_sql(connection, sql)\n", new="",
           test="test_experiments.py::test_sql_that_is_not_one_select_is_a_usage_error"),
    Seeded(name="SQL reaches files", file="experiments/query.py",
           old='        connection.execute("SET enable_external_access = false")\n', new="",
           test="test_experiments.py::test_sql_that_reaches_outside_fails"),
    Seeded(name="NaN wins a leaderboard", file="experiments/board.py",
           old="    finite = present & np.isfinite(values)\n",
           new="    finite = present\n    values = np.nan_to_num(values, nan=-np.inf)\n",
           test="test_experiments.py::test_the_best_row_of_each_names_newest_record"),
    Seeded(name="a metric's name is not looked at", file="experiments/board.py",
           old='    if "error" in whole or (lower and not higher):\n        return "min"\n',
           new='    if not higher or "error" in whole:\n        return "min"\n',
           test="test_experiments.py::test_a_name_that_does_not_tell_asks_for_the_direction"),
    Seeded(name="a bad file is never tried again", file="experiments/index/refresh.py",
           old="before is None or before[:2] != (now.st_size, now.st_mtime_ns):",
           new="before is None:",
           test="test_index.py::"
                "test_a_bad_file_is_named_each_time_and_tried_again_when_it_changes"),
    Seeded(name="an index is trusted whatever became of it", file="experiments/index/manifest.py",
           old="        if (found.st_size, found.st_mtime_ns) != tuple(state):\n",
           new="        if not found:\n",
           test="test_index.py::test_an_index_that_was_harmed_is_made_again"),
    Seeded(name="a file that is gone stays in the index", file="experiments/index/refresh.py",
           old="change = cls(gone=files_known.keys() - listed.keys())", new="change = cls()",
           test="test_index.py::test_what_is_removed_replaced_or_hidden_is_seen"),
    Seeded(name="what is removed for good leaves no tombstone", file="experiments/events.py",
           old="    _write(\n        directory,\n        action=\"rm\",",
           new="    None if purge else _write(\n        directory,\n        action=\"rm\",",
           test="test_live.py::"
                "test_purge_removes_the_files_and_a_copy_that_comes_back_stays_hidden"),
    Seeded(name="a removal is about a name and not about its records",
           file="experiments/events.py",
           old='            if event["action"] == "rm":\n'
               "                removed.add(experiment_id)\n",
           new='            if event["action"] == "rm":\n'
               '                removed |= {i for _, n, i in experiment_files(directory)'
               ' if n == event["name"]}\n',
           test="test_live.py::test_what_was_removed_is_hidden_and_a_name_begins_anew"),
    Seeded(name="recover takes a run whose process lives", file="experiments/append.py",
           old="                os.close(fd)\n                return None\n",
           new="                pass\n",
           test="test_live.py::test_recover_leaves_alone_a_run_whose_process_lives"),
    Seeded(name="recover takes a run that beat lately", file="experiments/live.py",
           old="            if not now and is_beating(path):\n",
           new="            if not now and not path.exists():\n",
           test="test_live.py::"
                "test_a_killed_run_is_left_alone_while_its_heart_beat_lately_then_recovered"),
    Seeded(name="a line that was cut off takes the next one with it",
           file="experiments/append.py",
           old='            data = b"\\n" * self._torn + self._waiting[0]\n',
           new="            data = self._waiting[0]\n",
           test="test_live.py::test_what_is_torn_loses_no_other_row"),
    Seeded(name="a row that a full disk did not take is forgotten", file="experiments/append.py",
           old="            return error.strerror or str(error)\n",
           new="            self._waiting.clear()\n"
               "            return error.strerror or str(error)\n",
           test="test_live.py::test_rows_that_a_full_disk_does_not_take_wait_for_room"),
    Seeded(name="a live file's own word names its record", file="experiments/live.py",
           old="    if file_name != f\"{document['experiment_name']}."
               "{document['experiment_id']}{LIVE}\":\n",
           new="    if not file_name:\n",
           test="test_live.py::test_a_live_file_that_no_run_wrote_is_named_and_writes_nothing"),
    Seeded(name="earlier uses count as inputs", file="experiments/views.py",
           old="FROM all_experiment_assets WHERE role <> 'earlier'",
           new="FROM all_experiment_assets",
           test="test_lineage.py::"
                "test_the_view_leaves_earlier_uses_out_and_joins_on_the_tree"),
    Seeded(name="a root does not hold what a record used", file="lineage.py",
           old="_settle(project, root, experiments=trees | kept)",
           new="_settle(project, root, experiments=kept)",
           test="test_lineage.py::"
                "test_the_root_alone_holds_what_a_record_used_while_its_project_is_away"),
    Seeded(name="gc goes by what projects say and not by their roots", file="store/gc.py",
           old="            self.trees.update(record.experiments)\n", new="",
           test="test_lineage.py::"
                "test_the_root_alone_holds_what_a_record_used_while_its_project_is_away"),
    Seeded(name="git's answer stands whatever becomes of the work tree", file="gitstate.py",
           old="return watched is not None and [*map(_changed, watched)] == [*watched.values()]",
           new="return watched is not None",
           test="test_gitstate.py::test_what_changes_in_a_work_tree_is_seen_at_once"),
    Seeded(name="git's answer stands though files were just written", file="gitstate.py",
           old="if watched and max(watched.values()) < (wall - STILL) * 1e9:",
           new="if watched:",
           test="test_gitstate.py::test_what_changed_just_now_may_change_again_unseen"),
    Seeded(name="bad is not carried on", file="graph/taint.py",
           old="                found.setdefault(node, Taint(name, names[tree], tree, reason, "
               "itself=False))\n",
           new="                pass\n",
           test="test_graph.py::test_a_mark_is_written_and_told_wherever_it_matters"),
)  # fmt: skip


def copied(target: Path) -> Path:
    """Copy cas and its tests to *target*, so that a run tests one state of them; return it."""
    top = next(place for place in _parents(__file__) if os.path.exists(f"{place}/pyproject.toml"))
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("cas", "tests"):
        shutil.copytree(f"{top}/{name}", target / name, ignore=ignored)
    shutil.copy(f"{top}/pyproject.toml", target)
    return target


def _parents(place: str) -> Iterable[str]:
    while place != (place := os.path.dirname(place)):
        yield place


def failing(code: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests against the cas in *code*; return pytest's exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", *(f"tests/{test}" for test in tests)],
        cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def seed(code: Path, fault: Seeded) -> Path:
    """Make the fault in a copy."""
    return alter(code, [fault.change])

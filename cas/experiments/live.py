"""Live: the file of a run that is not finished, ``<name>.<experiment_id>.live``.

JSON lines, appended by one process and never rewritten, so whatever ends that process leaves
all lines but perhaps the one that it was writing. The first line is the run as it began::

    {"live": 1, "experiment_id": …, "experiment_name": …, "created_at": …, "tags": […],
     "metadata": {…}, "assets": [use, …], "kept": [use, …], "earlier": [use, …], "run": {…}}

and each line after it one thing that came::

    {"row": {"step": 10, "loss": 2.1}}        NaN and Infinity as Python's json writes them,
                                              times as {"date": "2025-01-31"}
    {"use": {"name": …, "kind": …, "role": …, "tree": …, "commit": …}}
    {"tags": ["ablation"]} · {"metadata": {"seed": 1}} · {"moved": true}

``assets`` were in use when the run began; ``kept`` are the inputs of the record before, which
are this one's where no other comes. The file's mtime is its heartbeat, and its writer holds a
flock on it. At the end it becomes the one Parquet file of ``record`` and is removed; what
stands as both was finished, and the Parquet file counts.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from datetime import time as dt_time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import files
from cas.bounded import load_json
from cas.digest import is_digest
from cas.errors import ExperimentError
from cas.listing import parse_tree_id

from .append import LIVE_VERSION, Writer
from .footer import WRONG, check_footer
from .frame import to_table
from .naming import LIVE, experiment_files
from .record import RESERVED, VERSION, Run, Use, to_bytes, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

__all__ = [
    "BEAT",
    "Live",
    "finish",
    "is_beating",
    "live_references",
    "live_runs",
    "read_live",
    "recover",
]

BEAT = 600.0  # seconds without a heartbeat after which a run counts as dead


@dataclass(slots=True, kw_only=True)
class Live:
    """What a live file holds."""

    path: str
    document: dict[str, Any]
    """what the footer of its record would say, with the status ``running``"""
    rows: list[dict[str, Any]] = field(default_factory=list)
    torn: int = 0
    """lines that can't be read"""

    def table(self) -> pa.Table:
        """Return the rows as the columns that a record would have.

        A row that no ``Writer`` wrote, and that can't be saved, is left out as torn.
        """
        try:
            return to_table(self.rows, reserved=RESERVED)
        except ExperimentError:
            kept = [row for row in self.rows if _can_be_saved(row)]
            self.torn += len(self.rows) - len(kept)
            self.rows = kept
            return to_table(kept, reserved=RESERVED)


def read_live(path: str | Path) -> Live:
    """Read a live file. Raises OSError, and ExperimentError for one that is none."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", os.fspath(path))
        try:
            head = load_json(file.readline())
            if head["live"] > LIVE_VERSION:
                raise ExperimentError(f"a newer cas wrote it, in version {head['live']}")
            document = {
                "version": VERSION,
                "experiment_id": head["experiment_id"],
                "experiment_name": head["experiment_name"],
                "created_at": head["created_at"],
                "status": "running",
                "tags": list(head["tags"]),
                "metadata": dict(head["metadata"]),
                "assets": [],
                "run": {**Run().document(), **head["run"]},
            }
            uses = {key: [_use(use) for use in head[key]] for key in ("assets", "kept", "earlier")}
            _check(document, os.path.basename(path))
        except WRONG as error:
            raise ExperimentError(f"{os.fspath(path)!r} is no live run: {error!s:.160}") from None
        live = Live(path=os.fspath(path), document=document)
        names: dict[str, str] = {}
        for data in file:
            try:
                if data.strip():
                    _take(live, load_json(data), uses["assets"], names)
            except WRONG:
                live.torn += 1
    document["assets"] = [asdict(use) for use in _settled(uses)]
    return live


def live_runs(directory: Path, warn: Callable[[str], None] | None = None) -> list[Live]:
    """Return the runs of *directory* that are not finished, by id; name what can't be read."""
    there = experiment_files(directory)
    done = {key for file, _, key in there if not file.endswith(LIVE)}
    found = []
    for file, _, key in sorted(there, key=lambda one: one[2]):
        if not file.endswith(LIVE) or key in done:
            continue
        path = os.path.join(directory, file)
        try:
            live = read_live(path)
        except FileNotFoundError:
            continue  # it was finished while we looked
        except (OSError, ExperimentError) as error:
            if warn is not None:
                warn(f"skipped {path!r}: not a live run that can be read ({error!s:.160})")
            continue
        found.append(live)
    return found


def live_references(directory: Path) -> tuple[set[str], list[str]]:
    """Return (trees and objects that live runs name, as digests; what can't be read)."""
    unreadable: list[str] = []
    named: set[str] = set()
    for live in live_runs(directory, unreadable.append):
        named.update(str(use["tree"]).removeprefix("t1:") for use in live.document["assets"])
        run = live.document["run"]
        named.update(
            run[key] for key in ("git_diff", "packages", "lock") if is_digest(run.get(key))
        )
    return named, unreadable


def is_beating(path: str | Path) -> bool:
    """Say whether *path* is the file of a live run whose heart beat lately."""
    if not os.fspath(path).endswith(LIVE):
        return False
    try:
        return time.time() - os.stat(path).st_mtime < BEAT
    except OSError:
        return False


def finish(path: Path, status: str) -> tuple[Path, Live]:
    """Make the record of a live file, durable, and remove the live file.

    Done again after a stop in the middle, it gives the same record. Raises OSError, and
    ExperimentError for a file that is no live run.
    """
    live = read_live(path)
    document = {**live.document, "status": status}
    directory = Path(path).parent
    try:
        record = write(directory, document, live.table())
    except FileExistsError as error:
        record = Path(error.filename2 or error.filename)
    Path(path).unlink(missing_ok=True)
    files.fsync_dir(directory)
    return record, live


def recover(
    directory: Path, *, now: bool = False, warn: Callable[[str], None] | None = None
) -> tuple[list[tuple[Path, Live]], list[str]]:
    """Make records, with the status ``recovered``, of runs whose process is gone.

    Returns (records with what they were made of, files of runs that were left alone, because
    they beat within ``BEAT`` seconds or a process holds them). With *now* it is enough that no
    process of this machine holds them. What can't be read is named and left.
    """
    made, left = [], []
    for file, _, _ in sorted(experiment_files(directory), key=lambda one: one[2]):
        if not file.endswith(LIVE):
            continue
        path = Path(directory, file)
        try:
            if not now and is_beating(path):
                left.append(file)
                continue
            writer = Writer.open(path)
            if writer is None:
                left.append(file)
                continue
            try:
                made.append(finish(path, "recovered"))
            finally:
                writer.close()
        except FileNotFoundError:
            continue  # its own process finished it
        except (OSError, ExperimentError) as error:
            if warn is not None:
                warn(f"skipped {os.fspath(path)!r}: {error!s:.160}")
    return made, left


def _check(document: Mapping[str, Any], file_name: str) -> None:
    """Raise one of ``WRONG`` for what no record may say.

    Its record is named by what it says of itself, so that has to be its own file's name.
    """
    check_footer(to_bytes(document), file_name, 0)
    if file_name != f"{document['experiment_name']}.{document['experiment_id']}{LIVE}":
        raise ExperimentError("its name or its id is another than its file's")


def _can_be_saved(row: Mapping[str, Any]) -> bool:
    try:
        to_table([row], reserved=RESERVED)
    except ExperimentError:
        return False
    return True


def _decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((family, text),) = value.items()
    if family in ("stamp", "zoned"):
        return datetime.fromisoformat(text)
    return date.fromisoformat(text) if family == "date" else dt_time.fromisoformat(text)


def _take(live: Live, line: Any, uses: list[Use], names: dict[str, str]) -> None:
    """Take one line; raise ValueError, KeyError, TypeError or AttributeError for none."""
    ((key, value),) = line.items()
    document = live.document
    if key == "row":
        row = {names.setdefault(n.lower(), n): _decoded(cell) for n, cell in value.items()}
        live.rows.append(row)
    elif key == "use":
        uses.append(_use(value))
    elif key == "tags":
        document["tags"] = list(dict.fromkeys([*document["tags"], *map(_text, value)]))
    elif key == "metadata":
        to_bytes(value)  # JSON can write what is no Unicode, and UTF-8 can't
        document["metadata"] |= value
    elif key == "moved":
        document["run"]["git_moved"] = bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r:.40}")
    value.encode()
    return value


def _use(value: Any) -> Use:
    words = {key: _text(value[key]) for key in ("name", "kind", "role", "tree")}
    parse_tree_id(words["tree"])
    commit = value.get("commit")
    return Use(**words, commit=None if commit is None else _text(commit))


def _settled(uses: Mapping[str, Sequence[Use]]) -> list[Use]:
    """Return what the record names: uses and outputs, or the inputs of the record before."""
    current = list(uses["assets"])
    if all(use.role == "output" for use in current):
        current += uses["kept"]
    seen = {(use.name, use.tree) for use in current}
    older = [
        Use(name=use.name, kind=use.kind, role="earlier", tree=use.tree, commit=use.commit)
        for use in (*uses["kept"], *uses["earlier"])
        if (use.name, use.tree) not in seen
    ]
    unique = {(use.name, use.role, use.tree): use for use in (*current, *older)}
    return list(unique.values())

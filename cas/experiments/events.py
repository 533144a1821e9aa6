"""Events: what is said of a record after it was written: tags, notes, removal.

A record never changes, so each of these is a file of its own beside the records,
``.events/<uuid7>.json``, written once::

    {"version": 1, "event_id": …, "created_at": …, "action": "tag" | "untag" | "note" | "rm",
     "name": "exp_001", "experiment_ids": [id, …], "tags": [text, …], "note": text or null,
     "purge": bool}

They are applied in the order of their ids. Each names the records that it is about by id: a
tag or a note is about the newest record of a name, a removal about all that were there, so a
name that is saved again begins anew. A removal with ``purge`` stays as the tombstone of files
that are gone: where a copy of one comes back (git, rsync), it stays hidden.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import files
from cas.bounded import load_json
from cas.errors import ExperimentError, UsageError
from cas.names import near

from .naming import SHORTEST, experiment_files, new_id, utc
from .record import check_tags, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .footer import Record

__all__ = ["EVENTS", "Events", "apply", "note", "read", "remove", "tag", "visible"]

EVENTS = ".events"
VERSION = 1
MAX_EVENT = 1 << 20  # bytes
MAX_NOTE = 10_000  # characters
ACTIONS = ("tag", "untag", "note", "rm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What the events of a directory come to, by experiment id."""

    added: dict[str, dict[str, bool]] = field(default_factory=dict)
    """id → tag → whether it was added (else taken away)"""
    notes: dict[str, str | None] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def tags(self, experiment_id: str, own: Sequence[str] = ()) -> list[str]:
        """Return a record's tags: its *own*, less and more what events say."""
        said = self.added.get(experiment_id)
        if not said:
            return list(own)
        kept = [tag for tag in own if said.get(tag, True)]
        return list(dict.fromkeys([*kept, *(tag for tag, there in said.items() if there)]))

    def note(self, experiment_id: str) -> str | None:
        """Return a record's note, the last that was written."""
        return self.notes.get(experiment_id)

    def hidden(self, experiment_id: str) -> bool:
        """Say whether the record was removed."""
        return experiment_id in self.removed


def read(directory: Path, warn: Callable[[str], None] | None = None) -> Events:
    """Return what the events of *directory* come to; one that can't be read is named."""
    added: dict[str, dict[str, bool]] = {}
    notes: dict[str, str | None] = {}
    removed: set[str] = set()
    for name in _names(directory):
        path = os.path.join(directory, EVENTS, name)
        try:
            event = _parse(_bytes(path))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            if warn is not None:
                warn(f"skipped {path!r}: not an event that can be read ({error!s:.160})")
            continue
        for experiment_id in event["experiment_ids"]:
            if event["action"] == "rm":
                removed.add(experiment_id)
            elif event["action"] == "note":
                notes[experiment_id] = event["note"]
            else:
                said = added.setdefault(experiment_id, {})
                for word in event["tags"]:
                    said.pop(word, None)
                    said[word] = event["action"] == "tag"
    return Events(added=added, notes=notes, removed=frozenset(removed))


def apply(
    records: Sequence[Record], directory: Path, warn: Callable[[str], None] | None = None
) -> list[Record]:
    """Return *records* as the events of *directory* leave them: hidden ones out, tags, notes."""
    events = read(directory, warn)
    return [
        replace(
            record,
            tags=events.tags(record.experiment_id, record.tags),
            note=events.note(record.experiment_id),
        )
        for record in records
        if not events.hidden(record.experiment_id)
    ]


def tag(
    directory: Path, word: str, tags: Sequence[str], *, take_away: bool = False
) -> tuple[str, str]:
    """Tag the newest record of a name (or the record of an id); return its name and id.

    Raises UsageError for what can't be a tag, ExperimentError for an unknown experiment.
    """
    check_tags(tags)
    name, experiment_id = visible(directory, word)[-1]
    _write(
        directory,
        action="untag" if take_away else "tag",
        name=name,
        experiment_ids=[experiment_id],
        tags=list(dict.fromkeys(tags)),
    )
    return name, experiment_id


def note(directory: Path, word: str, text: str) -> tuple[str, str]:
    """Write the note of the newest record of a name; return its name and id.

    An empty *text* takes the note away. Raises as ``tag`` does.
    """
    if not isinstance(text, str):
        raise UsageError(f"note: expected text, found {type(text).__name__!r}")
    if len(text) > MAX_NOTE or not all(c.isprintable() or c in "\n\t" for c in text):
        raise UsageError(f"note: expected at most {MAX_NOTE} printable characters")
    name, experiment_id = visible(directory, word)[-1]
    _write(directory, action="note", name=name, experiment_ids=[experiment_id], note=text or None)
    return name, experiment_id


def remove(directory: Path, word: str, *, purge: bool = False) -> list[tuple[str, str]]:
    """Hide all records of a name, or the one of an id; return their names and ids.

    With *purge* their files are unlinked too, after the tombstone is durable. What was removed
    before can still be purged. A live run that beat lately is not purged.

    Raises ExperimentError for an unknown experiment, or one that is still running.
    """
    from .live import is_beating

    found = find(directory, word) if purge else visible(directory, word)
    ids = {experiment_id for _, experiment_id in found}
    paths = [Path(directory, file) for file, _, one in experiment_files(directory) if one in ids]
    if purge and any(is_beating(path) for path in paths):
        raise ExperimentError(
            f"experiment {word!r} is still running",
            hint="wait until it ends, or hide it: cas experiments rm without --purge",
        )
    _write(
        directory,
        action="rm",
        name=found[-1][0],
        experiment_ids=sorted(ids),
        purge=purge,
    )
    if purge:
        for path in paths:
            path.unlink(missing_ok=True)
        files.fsync_dir(directory)
    return found


def find(directory: Path, word: str) -> list[tuple[str, str]]:
    """Return (name, id) of all records of a name, or of the one of an id, oldest first.

    At least ``SHORTEST`` characters of an id do. Hidden ones too. Raises ExperimentError for
    an experiment that is not there, or the beginning of more than one id.
    """
    there = sorted(
        {(experiment_id, name) for _, name, experiment_id in experiment_files(directory)}
    )
    found = [(name, key) for key, name in there if name == word]
    if not found and len(word) >= SHORTEST:
        found = [(name, key) for key, name in there if key.startswith(word)]
        if len(found) > 1:
            raise ExperimentError(f"{word!r} fits {len(found)} experiments' ids")
    if not found:
        raise _unknown(word, {name for _, name in there})
    return found


def visible(directory: Path, word: str) -> list[tuple[str, str]]:
    """Return what ``find`` does without what was removed; raise if that is all."""
    events = read(directory)
    found = [one for one in find(directory, word) if not events.hidden(one[1])]
    if not found:
        raise _unknown(word, ())
    return found


def _unknown(word: str, names: Sequence[str] | set[str]) -> ExperimentError:
    close = near(word, names)
    return ExperimentError(
        f"no experiment {word!r}" + (f"; near: {', '.join(map(repr, close))}" if close else ""),
        hint="cas experiments --list",
    )


def _write(directory: Path, **event: Any) -> None:
    event_id, moment = new_id()
    document = {
        "version": VERSION,
        "event_id": event_id,
        "created_at": utc(moment),
        "tags": [],
        "note": None,
        "purge": False,
        **event,
    }
    place = Path(directory, EVENTS)
    try:
        files.make_dirs(place)
        files.write_new(
            place / f"{event_id}.json", to_bytes(document) + b"\n", mode=0o644 & ~files.umask()
        )
    except OSError as error:
        raise ExperimentError(f"can't write to {os.fspath(place)!r}: {error.strerror}") from error


def _names(directory: Path) -> list[str]:
    place = os.path.join(directory, EVENTS)
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ExperimentError(f"can't read {place!r}: {error.strerror}") from error
    return sorted(n for n in names if n.endswith(".json") and not n.startswith("."))


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file")
        data = file.read(MAX_EVENT + 1)
    if len(data) > MAX_EVENT:
        raise ValueError(f"more than {MAX_EVENT} bytes")
    return data


def _parse(data: bytes) -> dict[str, Any]:
    """Check what an event says; raise ValueError, KeyError or TypeError."""
    event = load_json(data)
    if not isinstance(event, dict) or event["action"] not in ACTIONS:
        raise ValueError("no event, or of an action that is not known")
    if type(event["version"]) is not int or event["version"] > VERSION:
        raise ValueError(f"a newer cas wrote it, in version {event['version']!r:.20}")
    for key in ("experiment_ids", "tags"):
        if not isinstance(event[key], list) or not all(isinstance(x, str) for x in event[key]):
            raise ValueError(f"its {key} are no list of texts")
    said = event["note"]
    if said is not None and not isinstance(said, str):
        raise ValueError("its note is no text")
    for text in (*event["tags"], said or ""):
        text.encode()
    return event

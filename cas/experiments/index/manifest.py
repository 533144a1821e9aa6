"""Manifest: which files an index has seen, and which packs hold them.

One file::

    cas-experiments 1 <CRC-32 of all that follows, 8 hex>
    {"directory": …, "packs": [[id, records, [size, mtime_ns] of .runs, of .rows], …],
     "skipped": [[reason, name of the file that has the same record or "", id if hidden], …],
     "removed": [id, …]}
    names, each ended by a NUL, as the directory lists them, but the skipped ones last
    size, mtime_ns and inode of each name: three columns of 64-bit integers

A pack whose files have another size or mtime than the manifest says is torn or foreign, and so
is the whole index.
"""

from __future__ import annotations

import json
import os
import zlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas import files
from cas.experiments.pack import Pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

__all__ = [
    "FileState",
    "Manifest",
    "PackFiles",
    "Skipped",
    "load_pack",
    "new",
    "read",
    "store_pack",
    "write",
]

MAGIC = b"cas-experiments 1 "
MANIFEST = "manifest"
ENDINGS = (".runs", ".rows")

FileState = tuple[int, int, int]
"""size, mtime_ns, inode"""


@dataclass(frozen=True, slots=True)
class PackFiles:
    """The two files of a pack."""

    id: str
    records: int
    states: tuple[tuple[int, int], ...]
    """(size, mtime_ns) of each"""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a file is in no pack."""

    reason: str
    same_as: str = ""
    """the file that has the same record, and counts"""
    hidden: str = ""
    """the record's id, where an event removed it"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index holds."""

    packs: list[PackFiles]
    names: str
    """of every file seen, each ended by a NUL"""
    columns: tuple[array[int], array[int], array[int]]
    """size, mtime_ns and inode of each"""
    skipped: dict[str, Skipped]
    removed: frozenset[str] = frozenset()
    """ids that events had removed"""

    def __len__(self) -> int:
        """Count the files."""
        return len(self.columns[0])

    def files(self) -> dict[str, FileState]:
        """Return what was seen of each file."""
        return dict(zip(_split(self.names), zip(*self.columns, strict=True), strict=True))

    def lists(self, listed: dict[str, int]) -> bool:
        """Say whether the files are those of *listed*, file name → inode.

        A directory that did not change lists them in the order in which it did, and then it
        is two comparisons.
        """
        if _joined(listed) == self.names and array("Q", listed.values()) == self.columns[2]:
            return True
        return dict(zip(_split(self.names), self.columns[2], strict=True)) == listed


def _joined(names: Iterable[str]) -> str:
    return "\0".join([*names, ""])


def _split(names: str) -> list[str]:
    return names.split("\0")[:-1]


def new(
    packs: list[PackFiles],
    states: Mapping[str, FileState],
    skipped: dict[str, Skipped],
    removed: frozenset[str] = frozenset(),
) -> Manifest:
    """Return the manifest of files seen, in the order of *states*, but the *skipped* ones last."""
    names = [*(name for name in states if name not in skipped), *skipped]
    numbers = [[states[name][i] for name in names] for i in range(3)]
    columns = array("q", numbers[0]), array("q", numbers[1]), array("Q", numbers[2])
    return Manifest(packs, _joined(names), columns, skipped, removed)


def read(place: str, directory: str) -> Manifest | None:
    """Return the manifest of the index at *place*, or None if there is none that is whole."""
    try:
        with open(os.path.join(place, MANIFEST), "rb") as file:
            data = file.read()
        start = len(MAGIC) + 9
        if not data.startswith(MAGIC) or int(data[len(MAGIC) : start - 1], 16) != zlib.crc32(
            memoryview(data)[start:]
        ):
            return None
        end = data.index(b"\n", start)
        head: dict[str, Any] = json.loads(data[start:end])
        if head["directory"] != directory:
            return None
        packs = [PackFiles(i, n, tuple(map(tuple, states))) for i, n, *states in head["packs"]]
        count = sum(pack.records for pack in packs) + len(head["skipped"])
        columns = array("q"), array("q"), array("Q")
        split = len(data) - 3 * 8 * count
        for number, column in enumerate(columns):
            column.frombytes(data[split + number * 8 * count :][: 8 * count])
        names = os.fsdecode(data[end + 1 : split])
        if names.count("\0") != count or len(columns[2]) != count:
            return None
        aside = names.split("\0")[count - len(head["skipped"]) : -1] if head["skipped"] else []
        skipped = {n: Skipped(*s) for n, s in zip(aside, head["skipped"], strict=True)}
        removed = frozenset(head["removed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Manifest(packs, names, columns, skipped, removed)


def write(place: str, directory: str, manifest: Manifest) -> None:
    """Replace the manifest, durable."""
    head = {
        "directory": directory,
        "packs": [[pack.id, pack.records, *pack.states] for pack in manifest.packs],
        "skipped": [[skip.reason, skip.same_as, skip.hidden] for skip in manifest.skipped.values()],
        "removed": sorted(manifest.removed),
    }
    numbers = b"".join(column.tobytes() for column in manifest.columns)
    body = b"%s\n%s%s" % (json.dumps(head).encode(), os.fsencode(manifest.names), numbers)
    data = b"%s%08x\n%s" % (MAGIC, zlib.crc32(body), body)
    files.replace(os.path.join(place, MANIFEST), data, mode=0o600)


def store_pack(place: str, pack: Pack) -> PackFiles:
    """Write a pack under a new name; it is durable when a manifest names it."""
    import pyarrow as pa

    name = os.urandom(8).hex()
    schemas = json.dumps(pack.schemas).encode()
    tables = (pack.runs.replace_schema_metadata({b"schemas": schemas}), pack.rows)
    states = []
    for ending, table in zip(ENDINGS, tables, strict=True):
        with open(os.path.join(place, name + ending), "xb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
            found = os.fstat(file.fileno())
            states.append((found.st_size, found.st_mtime_ns))
    return PackFiles(name, pack.runs.num_rows, tuple(states))


def load_pack(place: str, kept: PackFiles) -> Pack:
    """Return a pack whose tables are views of its files.

    Raises OSError, ValueError, KeyError or pyarrow's errors where it is not what was written.
    """
    runs, rows = (
        _load(place + "/" + kept.id + e, s) for e, s in zip(ENDINGS, kept.states, strict=True)
    )
    schemas = json.loads((runs.schema.metadata or {})[b"schemas"])
    if runs.num_rows != kept.records:
        raise ValueError("it has another count of records")
    return Pack(runs.replace_schema_metadata(None), rows, [list(map(tuple, s)) for s in schemas])


def sweep(place: str, manifest: Manifest) -> None:
    """Remove the files of *place* that belong to no pack of the manifest."""
    known = {pack.id + ending for pack in manifest.packs for ending in ENDINGS}
    for name in os.listdir(place):
        if name not in known and name not in (MANIFEST, "mutex"):
            files.discard(os.path.join(place, name))


def _load(path: str, state: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    with pa.memory_map(path) as source:
        found = os.stat(path)
        if (found.st_size, found.st_mtime_ns) != tuple(state):
            raise ValueError("it has another size or mtime")
        return pa.ipc.open_file(source).read_all()

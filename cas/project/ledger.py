"""The ledger: what the processes of one ``cas run`` tell each other of the assets they use.

``CAS_RUN`` names a directory of the user's own::

    project              the root of the project
    assets.lock          with ``--at``: the lock as the experiment had it
    offers               snapshot name tree commit, of what lies in the run's cache view
    uses/<pid>.<start>   one file a process

Lines are only appended, their fields between tabs. Those of a process::

    above <pid>.<start> …             the processes above it, nearest first
    own|hub name tree commit role     it used this by itself; the run handed it out over HTTP
    taken                             a record took what stands before

A record takes what its own process, those above it (they handed it on) and those below it
(workers) used. Of any other process it takes what that one left when it ended and what no
record took; the rest counts as ``earlier``. What nobody is known to have asked for
(``0.0``) is everybody's.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.project.uses import Used

__all__ = ["NOBODY", "Ledger", "identity", "ledger_of", "parent"]

NOBODY = "0.0"
DEEPEST = 100  # processes above one
MAX_BYTES = 64 << 20  # of one file; a process that writes more is not one of ours


class Ledger:
    """The uses of one run, as one process of it sees and tells them."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        past = os.path.join(directory, "assets.lock")
        self.past = past if os.path.exists(past) else None
        """The lock that the programs of ``cas run --at`` see, or None."""
        self._read: dict[str, int] = {}
        self._above: dict[str, list[str]] = {}
        self._left: dict[str, dict[tuple[str, str, str], Used]] = {}
        self._inherited: set[str] = set()
        self._offers: dict[str, Used] = {}
        self._handed: set[tuple[str, str]] = set()

    def note(self, used: Used) -> None:
        """Tell that this process uses an asset."""
        self._append(identity(os.getpid()), "own", used)

    def hand_out(self, used: Used, process: str) -> None:
        """Tell that *process* (``identity``, or NOBODY) was given an asset over HTTP."""
        self._append(process, "hub", used)

    def offer(self, used: Used, snapshot: str) -> None:
        """Tell that an asset lies in the cache view, its files as links in *snapshot*."""
        fields = (snapshot, used.name, used.tree, used.commit or "")
        if all(field.isprintable() for field in fields):
            _append(os.path.join(self.directory, "offers"), "\t".join(fields) + "\n")

    def take(self) -> None:
        """Tell that a record of this process took what it used so far, and what others left."""
        for process in {identity(os.getpid()), *self._inherited}:
            self._write(process, "taken\n")
        self._inherited.clear()

    def read(self) -> tuple[list[Used], list[Used]]:
        """Return (what is this process's to record, what others used), new since the last time."""
        mine: list[Used] = []
        others: list[Used] = []
        me = identity(os.getpid())
        near = {me, NOBODY, *_chain(me)}
        try:
            names = sorted(os.listdir(os.path.join(self.directory, "uses")))
        except OSError:  # of another machine, or the run is over
            return mine, others
        for name in names:
            lines = self._new_lines(name)
            self._handed |= {(used.name, used.tree) for tag, used in lines if used and tag == "hub"}
            if name in near or me in self._above.get(name, ()):
                mine += [used for tag, used in lines if used and (tag, name) != ("own", me)]
                continue
            left = self._left.setdefault(name, {})
            for tag, used in lines:
                if used is None and tag == "taken":
                    left.clear()
                elif used is not None:
                    left[used.key] = used
                    others.append(used)
            if left and not _lives(name):
                mine += left.values()
                left.clear()
                self._inherited.add(name)
        return mine + self._opened(), others

    def all(self) -> list[Used]:
        """Return every use that any process told, once."""
        whole = Ledger(self.directory)
        found = {}
        for name in sorted(os.listdir(os.path.join(self.directory, "uses"))):
            for _, used in whole._new_lines(name):
                if used is not None:
                    found[used.key] = used
                    whole._handed.add((used.name, used.tree))
        return [*found.values(), *whole._opened()]

    def _opened(self) -> list[Used]:
        """Return what was opened in the cache view and not asked for, once."""
        from cas.project.uses import Used

        for snapshot, *fields in self._fields("offers"):
            if len(fields) == 3:
                self._offers[snapshot] = Used(fields[0], fields[1], fields[2] or None, "input")
        found = []
        for snapshot, used in list(self._offers.items()):
            if (used.name, used.tree) not in self._handed and _was_opened(snapshot):
                self._offers.pop(snapshot, None)  # another thread may look as well
                found.append(used)
        return found

    def _new_lines(self, name: str) -> list[tuple[str, Used | None]]:
        """Return (tag, use or None) of the lines of a process that came since the last time."""
        from cas.project.uses import Used

        found: list[tuple[str, Used | None]] = []
        for tag, *fields in self._fields(f"uses/{name}"):
            if tag == "above":
                self._above[name] = fields
            elif tag == "taken":
                found.append((tag, None))
            elif tag in ("own", "hub") and len(fields) == 4:
                name_, tree, commit, role = fields
                found.append((tag, Used(name_, tree, commit or None, role)))
        return found

    def _fields(self, name: str) -> list[list[str]]:
        """Return the fields of the whole lines of a file that came since the last time."""
        start = self._read.get(name, 0)
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                if os.fstat(file.fileno()).st_size <= start:
                    return []
                file.seek(start)
                data = file.read(MAX_BYTES)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read[name] = start + len(whole)
        return [line.split("\t") for line in whole.decode("utf-8", "replace").splitlines()]

    def _append(self, process: str, tag: str, used: Used) -> None:
        fields = (used.name, used.tree, used.commit or "", used.role)
        if all(field.isprintable() for field in fields):
            self._write(process, "\t".join((tag, *fields)) + "\n")

    def _write(self, process: str, line: str) -> None:
        place = os.path.join(self.directory, "uses", process)
        head = ""
        if not os.path.exists(place):
            head = "\t".join(["above", *_chain(process)]) + "\n"
        _append(place, head + line)


def _append(place: str, text: str) -> None:
    """Append to a file; a run that is over, or is another machine's, is no error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(place, flags, 0o600)
    except OSError:
        return
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass
    finally:
        os.close(fd)


def _was_opened(snapshot: str) -> bool:
    """Say whether a link below *snapshot* was followed since it was made."""
    try:
        with os.scandir(snapshot) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if _was_opened(entry.path):
                        return True
                else:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_atime_ns > status.st_mtime_ns:
                        return True
    except OSError:
        pass
    return False


def ledger_of(root: str) -> Ledger | None:
    """Return the ledger of the ``cas run`` that this process is part of, if it is of *root*."""
    directory = os.environ.get("CAS_RUN")
    if not directory:
        return None
    try:
        with open(os.path.join(directory, "project"), encoding="utf-8") as file:
            named = file.read(8192)
        mine = os.stat(directory).st_uid == os.geteuid()
    except (OSError, UnicodeDecodeError):
        return None
    return Ledger(directory) if mine and named == root else None


def identity(process: int) -> str:
    """Return ``<pid>.<start>``, by which a process is told from a later one of its number."""
    status = _status(process)
    return f"{process}.{status[1]}" if status else f"{process}.0"


def parent(process: int) -> int:
    """Return the process above one; 0 where that can't be known."""
    status = _status(process)
    return status[0] if status else 0


def _status(process: int) -> tuple[int, int] | None:
    """Return (parent, start in clock ticks since boot), where /proc says it."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _chain(process: str) -> list[str]:
    """Return the processes above one, nearest first; without /proc the one above this one."""
    at = int(process.partition(".")[0])
    above = os.getppid() if at == os.getpid() else parent(at)
    found: list[str] = []
    while above > 1 and len(found) < DEEPEST:
        found.append(identity(above))
        above = parent(above)
    return found


def _lives(process: str) -> bool:
    number = int(process.partition(".")[0])
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return identity(number) == process

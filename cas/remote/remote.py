"""A remote as the rest of cas sees it: objects in and out by their digest, never believed.

What is sent is hashed on the way, and what is damaged here is not sent. What comes is bounded
by what the caller allows, and proved by the sink's owner.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cas.digest import Digest, hash_bytes, is_digest, open_to_read
from cas.errors import IntegrityError, SourceError, StoreError
from cas.limits import Limits, Pace

from .crew import each
from .faults import Transient
from .flow import LARGE, Budget, check, prove, proved, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from .kinds import Sink, Space
    from .place import Place

__all__ = ["Remote", "open_remote"]

LIMITS = Limits()
MARK = "cas-remote"
MAJOR = 1
VERSION = f"{MARK} {MAJOR}\n".encode()
IN_MEMORY = 256 << 20  # bytes of objects that are on their way at once
FLAT = 8000  # objects; a remote with more is listed by the first two digits, many at a time


class Remote:
    """One remote. Safe to use from several threads."""

    def __init__(self, place: Place, space: Space, limits: Limits) -> None:
        self.place = place
        self.limits = limits
        self._space = space
        self._budget = Budget(IN_MEMORY)
        self._lock = threading.Lock()
        self._put: list[str] = []

    def __str__(self) -> str:
        return str(self.place)

    @property
    def name(self) -> str:
        """What the project calls it."""
        return self.place.name

    def jobs(self, wanted: int) -> int:
        """Return how many transfers go at a time."""
        return min(wanted, self._space.jobs)

    def begin(self, *, write: bool = False) -> bool:
        """Look whether this is a remote; say whether it is, or was made one just now.

        Raises SourceError for one of another version, or a place with another use; Offline,
        AccessDenied.
        """
        self._space.begin(write=write)
        data = self._space.read_first("VERSION")
        if data is None:
            if not write:
                return False
            if self._space.write("VERSION", VERSION):
                self._space.settle(["VERSION"])
                return True
            data = self._space.read_first("VERSION") or b""
        name, _, version = data[:100].decode("utf-8", "replace").strip().partition(" ")
        if name != MARK or version.partition(".")[0] != str(MAJOR):
            raise SourceError(
                f"{self}: its VERSION is {f'{name} {version}'.strip()!r:.60}, "
                f"expected '{MARK} {MAJOR}'",
                hint="another path below it: cas remote add NAME URL/cas",
            )
        return True

    # Objects

    def size(self, digest: Digest) -> int | None:
        """Return the bytes of an object, or None if it is not there: one request."""
        return self._space.size(_key(digest))

    def sizes(self, digests: Collection[Digest], *, stop: threading.Event) -> dict[Digest, int]:
        """Return the bytes of those of *digests* that are there, by listing, many at a time."""
        wanted = set(digests)
        found: dict[Digest, int] = {}

        def note(key: str, size: int) -> None:
            name = key.removeprefix("objects/").replace("/", "", 1)
            if is_digest(name) and key == _key(Digest(name)) and name in wanted:
                found[Digest(name)] = size

        prefixes = sorted({digest[:2] for digest in wanted})
        if self._space.ordered and wanted:
            last = ""
            for number, (key, size) in enumerate(self._space.entries("objects/"), 1):
                note(key, size)
                last = key[8:10]
                if number == FLAT:
                    break
            else:
                return found
            prefixes = [prefix for prefix in prefixes if prefix >= last]

        def listed(prefix: str) -> list[tuple[str, int]]:
            return list(self._space.entries(f"objects/{prefix}/"))

        jobs = self.jobs(16)
        for _, rows, error in each(prefixes, listed, jobs=jobs, stop=stop):
            if error is not None:
                raise error
            for key, size in rows or ():
                note(key, size)
        return found

    def fetch(
        self,
        digest: Digest,
        sink: Sink,
        *,
        limit: int,
        stop: threading.Event,
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Bring *sink* to the whole of an object, from where it stands; False: it is not there.

        A body that is cut goes on where it was. What was proved of it is the sink's to say.

        Raises IntegrityError when it has more than *limit* bytes, Offline, AccessDenied,
        Stopped, SourceError.
        """
        key = _key(digest)
        tell = progress or _ignore
        if sink.offset:
            size = self._space.size(key)
            if size is None:
                return False
            if size < sink.offset:
                _restart(sink, tell)
            elif size == sink.offset:
                return True
        tries = 0
        while True:
            held = sink.offset
            try:
                return self._fetch(key, digest, sink, limit, stop, tell)
            except Transient:
                tries = tries + 1 if sink.offset - held < (1 << 16) else 1
                if sink.offset == held or tries >= self.limits.tries:
                    raise  # what lies below tried again already

    def _fetch(
        self,
        key: str,
        digest: Digest,
        sink: Sink,
        limit: int,
        stop: threading.Event,
        tell: Callable[[int], None],
    ) -> bool:
        check(stop)
        found = self._space.read(key, sink.offset)
        if found is None:
            return False
        size, pieces = found
        if size > limit:
            raise IntegrityError(f"object {digest} of {self}", expected=f"at most {limit} bytes",
                                 actual=f"{size}", hint=self.repair)  # fmt: skip
        if not sink.offset:
            sink.expect(size)
        pace = Pace(self.limits, self)
        for data in pieces:
            check(stop)
            if sink.offset + len(data) > size:
                _restart(sink, tell)
                raise Transient(f"{self}: more than the {size} bytes came that it spoke of")
            sink.write(data)
            tell(len(data))
            pace.took(len(data))
        if sink.offset < size:
            raise Transient(f"{self}: a body ended at byte {sink.offset} of {size}")
        return True

    def put(
        self,
        digest: Digest,
        path: str,
        *,
        stop: threading.Event,
        replace: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Put the object that lies at *path*; say whether it is new there.

        Raises IntegrityError, and nothing has its name there, if its bytes are others than its
        name says; StoreError where it can't be read.
        """
        check(stop)
        tell = progress or _ignore
        key = _key(digest)
        try:
            fd = open_to_read(path)
        except OSError as error:
            raise StoreError(f"object {digest} can't be read: {error.strerror}",
                             hint="cas verify --repair") from None  # fmt: skip
        with open(fd, "rb", buffering=0) as file:
            size = os.fstat(fd).st_size
            if size <= LARGE:
                with self._budget.take(size):
                    data = whole(file.fileno(), size)
                    prove(digest, hash_bytes(data))
                    new = self._space.write(key, data, replace=replace)
                tell(size)
            else:
                self._space.write_parts(key, proved(fd, digest, stop, tell))
                new = True
        if new:
            with self._lock:
                self._put.append(key)
        return new

    def put_bytes(self, digest: Digest, data: bytes, *, replace: bool = False) -> bool:
        """Put a small object from memory, such as a listing; say whether it is new there."""
        prove(digest, hash_bytes(data))
        new = self._space.write(_key(digest), data, replace=replace)
        if new:
            with self._lock:
                self._put.append(_key(digest))
        return new

    def settle(self, also: Iterable[Digest] = ()) -> None:
        """Make durable all that was put, and *also* what others did; what names it comes later."""
        with self._lock:
            keys, self._put = self._put, []
        self._space.settle([*keys, *map(_key, also)])

    # Experiments

    def experiment_files(self) -> dict[str, int]:
        """Return name → bytes of the files of experiments; the names are anybody's."""
        found = self._space.entries("experiments/")
        return {key.removeprefix("experiments/"): size for key, size in found}

    def read_experiment_file(self, name: str, limit: int) -> bytes | None:
        """Return one of them, or None; raise IntegrityError for more than *limit* bytes."""
        found = self._space.read(f"experiments/{name}")
        if found is None:
            return None
        parts, held = [], 0
        for data in found[1]:
            held += len(data)
            if held > limit:
                raise IntegrityError(f"{name!r} of {self}", expected=f"at most {limit} bytes",
                                     actual=f"{found[0]}")  # fmt: skip
            parts.append(bytes(data))
        return b"".join(parts)

    def put_experiment_file(self, name: str, data: bytes) -> bool:
        """Put one of them where there is none of that name; say whether it is new there."""
        key = f"experiments/{name}"
        new = self._space.write(key, data)
        if new:
            with self._lock:
                self._put.append(key)
        return new

    @property
    def repair(self) -> str:
        """The command that mends it."""
        return f"cas verify --remote {self.name} --full --repair, where the bytes are whole"


def open_remote(
    place: Place, *, limits: Limits = LIMITS, notice: Callable[[str], None] | None = None
) -> Remote:
    """Return the remote at a place; nothing is asked of it yet.

    *notice* is told where the remote makes us wait.

    Raises AccessDenied where there are no credentials, UsageError for a scheme that nothing
    here reaches, SourceError.
    """
    from .bucket import TYPES, Bucket
    from .directory import Directory
    from .other import Other

    space: Space
    if place.scheme == "file":
        space = Directory(place, limits)
    elif place.scheme in TYPES:
        space = Bucket(place, limits, notice)
    else:
        space = Other(place, limits)
    return Remote(place, space, limits)


def _key(digest: Digest) -> str:
    return f"objects/{digest[:2]}/{digest[2:]}"


def _restart(sink: Sink, tell: Callable[[int], None]) -> None:
    held = sink.offset
    sink.restart()
    if held:
        tell(-held)


def _ignore(_: int) -> None:
    pass

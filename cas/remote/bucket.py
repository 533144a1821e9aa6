"""Buckets: s3, gs and az, by obstore.

obstore tries again what failed on the way and resumes a body that was cut; a server that asks
to be left alone for longer is (``busy``). A large body is read by ourselves (``signed``).
What is given up is told as one of our errors. A put is create-only up to 64 MiB. Above it goes
in parts, which are given up by an error, a stop or bytes that turn out wrong: the last part is
sent only when all are proved.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cas.errors import Offline, SourceError

from .busy import Queue
from .faults import Transient, fault_of
from .kinds import FIRST
from .signed import open_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from cas.limits import Limits

    from .place import Place

__all__ = ["Bucket"]

PART = 16 << 20  # bytes of one part: 10,000 of them, the most there may be, are 156 GiB
PARTS = 4  # of one object at a time
DIRECT = 256 << 20  # bytes; from here on a body of our own is worth one more request
PIECE = 256 << 10  # bytes given on at once: of a body that trickles, four minutes
TYPES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}


class Bucket:
    """One bucket, from a prefix down."""

    jobs = 64
    ordered = True

    def __init__(
        self, place: Place, limits: Limits, notice: Callable[[str], None] | None = None
    ) -> None:
        self._place = place
        self._limits = limits
        self._store = self._open(limits.tries)
        self._quick = self._open(limits.first_tries)
        self._queue = Queue(place, self._store, limits, notice)

    def begin(self, *, write: bool) -> None:
        """Do nothing: a bucket is there or not."""

    def read(self, key: str, offset: int = 0) -> tuple[int, Iterator[bytes]] | None:
        """Return (size of the whole, its bytes from *offset*), or None if it is not there."""
        import obstore

        options: Any = {"range": {"offset": offset}} if offset else None
        try:
            found = self._ask(obstore.get, key, options=options)
        except Exception as error:  # noqa: BLE001 - told apart there
            self._check_absent(error)
            return None
        return found.meta["size"], self._pieces(found, key, offset)

    def read_first(self, key: str) -> bytes | None:
        """Return a small object, or None; who is offline learns it soon."""
        import obstore

        try:
            try:
                return _whole(obstore.get(self._quick, key))
            except Exception as error:
                if not isinstance(self._fault(error), Transient):
                    raise
                return _whole(self._ask(obstore.get, key))
        except Exception as error:  # noqa: BLE001 - told apart there
            self._check_absent(error)
            return None

    def size(self, key: str) -> int | None:
        """Return an object's bytes, or None if it is not there: one HEAD."""
        import obstore

        try:
            return int(self._ask(obstore.head, key)["size"])
        except Exception as error:  # noqa: BLE001 - told apart there
            self._check_absent(error)
            return None

    def entries(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of every object below *prefix*, which ends in a slash."""
        import obstore

        first = last = None
        turn = self._queue.turn(prefix)
        while True:
            try:
                for rows in obstore.list(self._store, prefix, offset=last, chunk_size=1000):
                    for row in rows:
                        last = row["path"]
                        if last == first:
                            raise SourceError(f"{self._place}: its listing has no end")
                        first = first or last
                        yield last, row["size"]
            except Exception as error:  # noqa: BLE001 - told apart there
                if not turn.wait(fault := self._fault(error)):
                    raise fault from None
            else:
                return

    def write(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        """Put *data* in one request; say whether it is new there."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            mode = "overwrite" if replace else "create"
            self._ask(obstore.put, key, data, use_multipart=False, mode=mode)
        except AlreadyExistsError:
            return False
        except Exception as error:  # noqa: BLE001 - told apart there
            if type(error).__name__ == "PreconditionError":
                return False
            raise self._fault(error) from None
        return True

    def write_parts(self, key: str, parts: AbstractContextManager[Iterator[bytes]]) -> None:
        """Put what *parts* gives, in parts of PART bytes; nothing is left of one that fails."""
        import obstore

        with parts as pieces:
            try:
                obstore.put(
                    self._store, key, pieces, use_multipart=True, chunk_size=PART,
                    max_concurrency=PARTS,
                )  # fmt: skip
            except Exception as error:
                if _is_ours(error):
                    raise
                raise self._fault(error) from None

    def settle(self, keys: list[str]) -> None:
        """Do nothing: what was put is durable when that is answered."""

    def _ask(self, call: Callable[..., Any], key: str, *words: Any, **options: Any) -> Any:
        """Return what *call* does with the store and *key*, later if the server is busy."""
        turn = self._queue.turn(key)
        while True:
            try:
                return call(self._store, key, *words, **options)
            except Exception as error:
                if not turn.wait(self._fault(error)):
                    raise

    def _open(self, tries: int) -> Any:
        from obstore import store

        limits = self._limits
        options: dict[str, Any] = {
            "timeout": timedelta(days=2),
            "read_timeout": timedelta(seconds=limits.silence),
            "connect_timeout": timedelta(seconds=limits.connect),
        }
        more: dict[str, Any] = {
            "retry_config": {
                "max_retries": tries - 1,
                "retry_timeout": timedelta(seconds=limits.patience),
                "backoff": {
                    "init_backoff": timedelta(seconds=limits.backoff),
                    "max_backoff": timedelta(seconds=limits.backoff_most),
                },
            }
        }
        config: dict[str, Any] = {}
        if self._place.scheme == "s3":
            from .aws import settings_of

            config, plain, provider = settings_of(self._place)
            config["checksum_algorithm"] = "SHA256"
            if plain:
                options["allow_http"] = True
            if provider is not None:
                more["credential_provider"] = provider
        make = getattr(store, TYPES[self._place.scheme])
        try:
            return make(
                self._place.host, prefix=self._place.path or None, client_options=options,
                **config, **more,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - told apart there
            raise self._fault(error) from None

    def _pieces(self, found: Any, key: str, offset: int) -> Iterator[bytes]:
        """Yield the bytes of what was found; many are asked for again, for they come faster so."""
        answer = None
        if found.meta["size"] - offset >= DIRECT:
            answer = open_body(self._store, key, found.meta, offset, self._limits.silence)
        if answer is not None:
            from http.client import HTTPException

            with answer:
                try:
                    while data := answer.read(PIECE):
                        found = None  # its connection is closed
                        yield data
                except (OSError, HTTPException):
                    if found is None:
                        raise Transient(f"{self._place}: the connection was cut") from None
            if found is None:
                return
        try:
            yield from found.stream(min_chunk_size=PIECE)
        except Exception as error:  # noqa: BLE001 - told apart there
            fault = self._fault(error)
            if isinstance(fault, Offline):  # it answered before
                fault = Transient(str(fault), hint=fault.hint)
            raise fault from None

    def _check_absent(self, error: Exception) -> None:
        """Raise what *error* is, unless it says that the object is not there."""
        fault = self._fault(error)
        if isinstance(error, FileNotFoundError) and "no such bucket" not in str(fault):
            return
        raise fault from None

    def _fault(self, error: Exception) -> SourceError:
        return error if isinstance(error, SourceError) else fault_of(self._place, error)


def _whole(found: Any) -> bytes:
    """Return the bytes of a small object; none of what is too large to be one of ours."""
    return bytes(found.bytes()) if found.meta["size"] <= FIRST else b""


def _is_ours(error: Exception) -> bool:
    from cas.errors import CasError

    return isinstance(error, CasError)

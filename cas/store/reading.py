"""Reading: small objects, and the listings among them, proved as they are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.digest import Digest, hash_bytes, open_to_read
from cas.errors import IntegrityError, ListingError, StoreError
from cas.listing import HEADER, Listing

if TYPE_CHECKING:
    from cas.store.layout import Store

__all__ = ["Vanished", "read_listing", "read_object"]


MOST = 1 << 30  # bytes of a listing: eight million files


class Vanished(StoreError):
    """An object or tree went while a call used it; the call starts again."""


def read_object(store: Store, digest: Digest) -> bytes:
    """Return the bytes of a small object, proved; raise StoreError or IntegrityError."""
    try:
        with open(open_to_read(store.object(digest)), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise Vanished(f"object {digest} is not in the store {store.root}") from None
    except OSError as error:
        raise StoreError(f"object {digest} can't be read: {error.strerror}") from None
    if hash_bytes(data) != digest:
        raise IntegrityError(
            f"object in {store.root}",
            expected=f"sha256 {digest}",
            actual=hash_bytes(data),
            hint="cas verify --full --repair",
        )
    return data


def read_listing(store: Store, digest: Digest) -> Listing | None:
    """Return the listing of a tree, or None if it is not here or can't be read as one."""
    try:
        with open(open_to_read(store.object(digest)), "rb") as file:
            data = file.read(len(HEADER))
            if data != HEADER or os.fstat(file.fileno()).st_size > MOST:
                return None  # whatever it is, it is not read into memory
            data += file.read()
        return Listing.parse(data) if hash_bytes(data) == digest else None
    except (OSError, ListingError):
        return None

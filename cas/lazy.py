"""Packages whose names are imported when they are asked for: a start loads what it uses.

``import cas`` and a pull that only moves a view are over before what they never call could
have been loaded.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["open_rooms"]


def open_rooms(package: str, **rooms: str) -> None:
    """Let *package* import each of its names at the first need; room → its names, by spaces."""
    module = sys.modules[package]
    room_of = {name: room for room, names in rooms.items() for name in names.split()}
    module.__dict__["_room_of"] = room_of
    module.__class__ = _Package


class _Package(type(sys)):  # type: ignore[misc]
    """A module that knows which of its rooms has a name."""

    _room_of: "dict[str, str]"

    def __getattr__(self, name: str) -> "Any":
        if name not in self._room_of:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        room = __import__(f"{self.__name__}.{self._room_of[name]}", fromlist=(name,))
        found = self.__dict__[name] = getattr(room, name)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # Python binds a room that it has loaded; one that is called as a function of its is
        # (``cas.store.verify``) must not take the function's place
        if not (name in self._room_of and isinstance(value, type(sys))):
            super().__setattr__(name, value)

    def __dir__(self) -> "list[str]":
        return sorted({*self.__dict__, *self._room_of})

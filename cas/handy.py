"""What the public functions of ``cas`` have in common. It imports next to nothing."""

from __future__ import annotations

from cas.errors import CasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cas.project import Project

__all__ = [
    "Uncollected",
    "executor_of",
    "here",
    "number_of",
    "optional",
    "say",
    "seconds",
    "settled",
    "texts",
]


def texts(words: Iterable[str]) -> tuple[str, ...]:
    """Return a list of texts; one text alone would be read letter by letter."""
    return (words,) if isinstance(words, str) else tuple(words)


def executor_of(executor: Any) -> Any:
    """Return *executor* if it is None or can run something; else raise UsageError."""
    if executor is None or callable(getattr(executor, "submit", None)):
        return executor
    from cas.errors import UsageError

    raise UsageError(
        f"executor: expected a concurrent.futures.Executor, found {type(executor).__name__!r}",
        hint="executor=ProcessPoolExecutor(8), or leave it out",
    )


def number_of(jobs: Any) -> int:
    """Return *jobs* if so many things can be done at a time; else raise UsageError."""
    if type(jobs) is int and 1 <= jobs <= 1024:
        return jobs
    from cas.errors import UsageError

    raise UsageError(f"jobs: expected a number from 1 to 1024, found {jobs!r}")


def seconds(text: Any) -> float:
    """Return seconds for ``14d``, ``12h``, ``30m`` or ``0s``; raise UsageError for another text.

    Three hundred years at most: more is before any time that a datetime can say.
    """
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    unit = units.get(text[-1:]) if isinstance(text, str) else None
    if unit is None or not text[:-1].isascii() or not text[:-1].isdigit():
        from cas.errors import UsageError

        raise UsageError(f"expected a time such as 14d or 12h, found {text!r:.100}")
    return min(float(text[:-1]) * unit, 300 * 365 * 86400.0)


def settled(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a recipe's options as a request has them: sorted, lists as tuples, none left open."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return tuple(sorted((k, v) for k, v in plain.items() if v is not None))


def here() -> Project | None:
    """Return the project that this process acts on, or None."""
    from cas.errors import NoProject
    from cas.project import current

    try:
        return current()
    except NoProject:
        return None


def optional(module: str) -> Any:
    """Import a package that only some functions need; raise CasError where it is absent."""
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        what = "polars" if module == "polars" else "'cas-assets[train]'"
        raise CasError(f"the package {module!r} is needed", hint=f"pip install {what}") from None


class Uncollected:
    """Does without Python's cycle collector for a moment.

    With torch's modules in memory one collection takes 30 ms, more than opening shards does.
    """

    def __enter__(self) -> None:
        import gc

        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        import gc

        if self._enabled:
            gc.enable()


def say(message: str) -> None:
    """Tell something on stderr, as the functions of ``cas`` promise to."""
    import sys

    print(f"cas: {message}", file=sys.stderr)  # noqa: T201 - it is said on stderr by contract

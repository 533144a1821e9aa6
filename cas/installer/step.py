"""Step: whether the requests of pyproject.toml and the pins of assets.lock agree."""

from __future__ import annotations

from cas.errors import CasError, OutOfStep
from cas.project.requests import parse_settings
from cas.request import RecipeRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cas.lockfile import Lockfile
    from cas.project import Project
    from cas.request import Request

__all__ = ["check_in_step", "in_step", "out_of_step", "stale_inputs"]


def out_of_step(requests: Mapping[str, Request], lock: Lockfile) -> dict[str, str]:
    """Return name → how its request and its pin differ, for all that are out of step."""
    found = {}
    for name in sorted({*requests, *lock.assets}):
        if name not in lock.assets:
            found[name] = "is requested and not locked"
        elif name not in requests:
            found[name] = "is locked and not requested"
        elif requests[name] != lock.assets[name].request:
            found[name] = "has another request than it was locked with"
    return found


def stale_inputs(lock: Lockfile) -> dict[str, str]:
    """Return name → the input that moved since it was built, for derived assets.

    Of a text and a tokenizer that both moved it is the text.
    """
    found: dict[str, str] = {}
    for asset in lock:
        if isinstance(asset.request, RecipeRequest) and not asset.request.keep:
            for role, name in asset.request.inputs.items():
                source = lock.assets.get(name)
                if source is None or source.tree != asset.inputs.get(role):
                    found.setdefault(asset.name, name)
    return found


def check_in_step(
    project: Project, lock: Lockfile, words: Iterable[str] = (), groups: Iterable[str] = ()
) -> None:
    """Raise OutOfStep if a request and its pin differ, for *words* and *groups*, or all."""
    requests = project.read_settings().requests
    differing = out_of_step(requests, lock)
    words, groups = list(words), set(groups)
    if (words or groups) and differing:
        wanted = {word for word in words if word in differing}
        for word in words:
            wanted |= {asset.name for asset in lock.select([word])} if _fits(lock, word) else set()
        both = [*requests.items(), *((asset.name, asset.request) for asset in lock)]
        wanted |= {name for name, request in both if groups & set(request.groups)}
        differing = {name: how for name, how in differing.items() if name in wanted}
    if differing:
        names = "".join(f"\n  {name} {how}" for name, how in differing.items())
        raise OutOfStep(
            f"assets.lock is out of step with pyproject.toml:{names}",
            hint="cas lock, or: cas pull --frozen",
        )


def in_step(requests_bytes: bytes | None, lock: Lockfile) -> bool:
    """Say whether the next pull would have nothing to tell: only then it may be the short one."""
    try:
        requests = parse_settings(requests_bytes).requests
    except CasError:
        return False
    return not out_of_step(requests, lock) and not stale_inputs(lock)


def _fits(lock: Lockfile, word: str) -> bool:
    try:
        lock.select([word])
    except CasError:
        return False
    return True

"""What ``cas run`` does with its words. It imports little: a program waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli.terminal import Terminal
from cas.errors import NoProject, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cas.project import Project

__all__ = ["plainly", "run_program"]


def plainly(words: Sequence[str]) -> int:
    """Run a program without options: ``cas run -- CMD…``."""
    return run_program(words, Terminal(quiet=False, colour="auto", json=False))


def run_program(
    program: Sequence[str],
    out: Terminal,
    *,
    where: str | None = None,
    add: bool = False,
    allow_unlocked: bool = False,
    at: str | None = None,
    frozen: bool = False,
) -> int:
    """Run a program and return its exit code; *where* is the directory of ``--project``."""
    from cas.serve.run import RunOptions, run

    if not program:
        raise UsageError("cas run: expected a command after --", hint="cas run -- python train.py")
    options = RunOptions(add=add, allow_unlocked=allow_unlocked, at=at, frozen=frozen)
    project = _project(where, out, make=add)
    return run(project, program, options, progress=out, tell=out.error)


def _project(where: str | None, out: Terminal, *, make: bool) -> Project:
    """Return the project; where there is none, and *make*, the working directory becomes one."""
    from cas import project

    try:
        return project.Project.find(where)
    except NoProject as error:
        if not make:
            hint = "cas init; or: cas run --add -- … makes this directory a project"
            raise NoProject(str(error), hint=hint) from None
    made = project.init(where or ".")
    out.note(f"{made.root} is a project now: pyproject.toml [tool.cas], assets.lock, assets/")
    return made

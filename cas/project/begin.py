"""A project's beginning: the files that ``cas init`` makes, and what they say."""

from __future__ import annotations

import os

from cas.project.core import REQUESTS, Project

__all__ = ["init"]

IGNORE = """\
# cas: assets are in the shared store; assets.lock says which
assets/**
!assets/**/
!assets/**/*.md
# to keep records of experiments in git:
# !assets/outputs/experiments/**
"""

STUBS = {
    "assets/README.md": """\
# assets

Views of the assets that `assets.lock` pins: symlinks into the shared store, made by `cas pull`.
Nothing here but these README files belongs to git.

    cas pull      # make the views
    cas list      # what is pinned
    cas status    # how it stands
""",
    "assets/datasets/README.md": """\
# datasets

Datasets by their Hub name; `tokens/` holds token shards. `cas add ORG/NAME` adds one.
""",
    "assets/models/README.md": """\
# models

Models and checkpoints; `tokenizers/` holds tokenizers. `cas add gpt2`, `cas add runs/exp_001.pt`.
""",
    "assets/outputs/README.md": """\
# outputs

`experiments/` holds one Parquet file a record, made by `cas.save_experiment`. `cas experiments`
lists them, `cas query` asks them anything.
""",
}


def init(directory: str) -> Project:
    """Make *directory* a project, or complete one; what is there already stays.

    A ``[tool.cas]`` table in pyproject.toml, assets.lock, ``assets/`` with its README stubs,
    and the rules that keep git from it.
    """
    from cas.files import make_dirs, replace, write_new
    from cas.lockfile import Lockfile
    from cas.project.requests import edit
    from cas.project.views import make_parents

    root = os.path.realpath(directory)
    make_dirs(root)
    project = Project(root)
    before = project.requests_bytes()
    after = edit(before, {})
    for view, text in STUBS.items():
        make_parents(root, view)
        try:
            write_new(os.path.join(root, view), text.encode())
        except FileExistsError:
            pass
    ignore = os.path.join(root, ".gitignore")
    try:
        with open(ignore, encoding="utf-8") as file:
            rules = file.read()
    except FileNotFoundError:
        rules = ""
    if "assets/**" not in rules.splitlines():
        gap = "" if not rules else "\n" if rules.endswith("\n") else "\n\n"
        replace(ignore, (rules + gap + IGNORE).encode())
    if after != before:
        replace(os.path.join(root, REQUESTS), after)
    try:
        write_new(project.lock_path, Lockfile().text().encode())
    except FileExistsError:
        project.read_lock()
    return project

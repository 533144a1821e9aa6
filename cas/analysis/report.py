"""An analysis and the files that are made of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.analysis.analyse import Analysis, analyse
from cas.errors import CasError, UsageError, remedy
from cas.files import make_dirs, replace
from cas.progress import QUIET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cas.progress import Progress
    from cas.project import Project

__all__ = ["report"]

Path = str | os.PathLike[str]


def report(
    project: Project,
    name: str,
    tokenizers: Sequence[Path] = (),
    sizes: Sequence[int] = (),
    *,
    split: str = "train",
    column: str | None = None,
    plot: Path | None = None,
    parquet: Path | None = None,
    progress: Progress = QUIET,
) -> Analysis:
    """Analyse a dataset, and write plots into the directory *plot* and rows to *parquet*.

    Where they go is looked at first: a long count is not done for a place that can't be written.

    Raises:
        UsageError: *plot* is a file, or *parquet* a directory.
        CasError: they can't be written; and all that ``analyse`` raises.
    """
    try:
        if plot is not None:
            _check_directory(plot)
        if parquet is not None:
            _check_file(parquet)
        analysis = analyse(
            project, name, tokenizers, sizes, split=split, column=column, progress=progress
        )
        if plot is not None:
            _write_plots(analysis, plot)
        if parquet is not None:
            from cas.analysis import rows

            replace(parquet, rows.parquet(analysis))
    except OSError as error:
        where = error.filename or "what is read or written"
        raise CasError(f"{where}: {error.strerror or error}", hint=remedy(error)) from error
    return analysis


def _write_plots(analysis: Analysis, directory: Path) -> None:
    from cas.analysis.page import page
    from cas.analysis.plots import plots

    made = plots(analysis)
    for name, text in {**made, "index.html": page(analysis, made)}.items():
        replace(os.path.join(directory, name), text.encode())


def _check_directory(directory: Path) -> None:
    try:
        make_dirs(directory)
    except (FileExistsError, NotADirectoryError):
        message = f"--plot {os.fspath(directory)!r}: expected a directory, found a file"
        raise UsageError(message) from None
    _check_writable(directory)


def _check_file(path: Path) -> None:
    if os.path.isdir(path):
        raise UsageError(f"--parquet {os.fspath(path)!r}: expected a file, found a directory")
    _check_writable(os.path.dirname(os.fspath(path)) or ".")


def _check_writable(directory: Path) -> None:
    if not os.path.isdir(directory):
        raise UsageError(f"{os.fspath(directory)!r}: expected a directory, found none")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), os.fspath(directory))

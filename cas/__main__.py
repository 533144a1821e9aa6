"""The command ``cas``, also as ``python -m cas``.

A pull that has nothing to do is answered here, before anything else is imported: it costs
Python's start, one file of the user's cache, and a ``readlink`` and a ``stat`` an asset.
"""

import os
import sys

DAY = 86400
READS = {"experiments", "lineage", "query", "stale"}
"""Commands of experiments: they load numpy, Arrow or DuckDB, and leave nothing undone."""


def start() -> None:
    """Be the command ``cas``: run one and end this process.

    Python is not taken apart first where nothing waits for that: it takes 1.5 ms alone, and 30
    with numpy, Arrow and DuckDB in it.
    """
    reads = not READS.isdisjoint(sys.argv[1:2])
    if reads:  # cas multiplies no matrices, and numpy's threads for that spin for 30 ms at first
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = main()
    if reads or "cas.cli" not in sys.modules:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        except (OSError, ValueError):
            pass  # told already, where it could be
    sys.exit(code)


def main() -> int:
    """Run one command and return its exit code."""
    argv = sys.argv[1:]
    if sys.stdout is None or sys.stderr is None:
        _open_what_is_closed()
    try:
        if argv[:1] == ["pull"] and "CAS_PROJECT" not in os.environ:
            code = _nothing_to_pull(argv[1:])
            if code is not None:
                return code
        from cas.cli import run

        return run(argv)
    except KeyboardInterrupt:  # while that was imported: nothing was begun
        os.write(2, b"cas: error: interrupted\n")
        return 130


def _nothing_to_pull(options: list[str]) -> int | None:
    """Answer a pull if every view and tree is as the last full pull left it, else None."""
    from cas import warm

    if not warm.PLAIN.issuperset(options):
        return None
    try:
        root = os.getcwd()
    except OSError:
        return None
    while not os.path.lexists(root + "/assets.lock"):
        parent = os.path.dirname(root)
        if parent == root:
            return None
        root = parent
    kept = warm.load(root)
    if kept is None or not 0 <= _now() - kept.stamp < DAY:
        return None
    if not kept.in_place(root):
        return None
    count = len(kept)
    try:  # past Python's buffers: what can't be written is told by the long way, once
        if "--json" in options:
            answer = f'"assets": {count}, "downloaded_files": 0, "downloaded_bytes": 0, "linked": 0'
            os.write(1, f"{{{answer}}}\n".encode())
        if not {"-q", "--quiet"} & set(options):
            os.write(2, f"{count} asset{'s' * (count != 1)} in place\n".encode())
    except OSError:
        return None
    return 0


def _open_what_is_closed() -> None:
    """Stand in for a stdout or stderr that was closed, so that no other file gets its number."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd < 2:
        fd = os.dup(fd)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115 - to the end
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115 - to the end


def _now() -> float:
    import time

    return time.time()


if __name__ == "__main__":
    start()

"""Run one program and print what it took: ``wall user system peak-kB tree-kB exit-code``.

The peak is the resident pages of the largest process. With ``watched`` the tree's kB are the most
anonymous and shared-memory pages that it and all below it had together, looked at every few
milliseconds; else 0.

A process of its own, started with -I -S and importing next to nothing: the peak memory that
Linux reports of a child is at least that of the process it was forked from, so this one has
to be smaller than whatever it measures (a bare Python has about 9 MB).

Arguments: ``watched`` or ``alone``, file for stdout, file for stderr, then the program and its
arguments.
"""

import os
import sys
import time

STEP = 0.005  # seconds between two looks


def kept_by(pid: int) -> int:
    """Return the kB of anonymous and shared memory of a process and all below it."""
    size = 0
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith(("RssAnon:", "RssShmem:")):
                    size += int(line.split()[1])
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                size += sum(map(kept_by, map(int, children.read().split())))
    except OSError:
        pass  # it has ended
    return size


def main() -> None:
    how, out, err, *argv = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o644),
    ]
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    tree = 0
    ended = 0
    while how == "watched" and not ended:
        tree = max(tree, kept_by(pid))
        time.sleep(STEP)
        ended, status, used = os.wait4(pid, os.WNOHANG)
    if not ended:
        _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    print(f"{wall:.6f} {used.ru_utime:.6f} {used.ru_stime:.6f} {used.ru_maxrss} {tree} {code}")


main()

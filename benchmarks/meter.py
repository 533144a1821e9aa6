"""Run one program and print what it took: ``wall user system peak-kB exit-code``.

A process of its own, started with -I -S and importing next to nothing: the peak memory that
Linux reports of a child is at least that of the process it was forked from, so this one has
to be smaller than whatever it measures (a bare Python has about 9 MB).

Arguments: file for stdout, file for stderr, then the program and its arguments.
"""

import os
import sys
import time


def main() -> None:
    out, err, *argv = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o644),
    ]
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    print(f"{wall:.6f} {used.ru_utime:.6f} {used.ru_stime:.6f} {used.ru_maxrss} {code}")


main()

"""A crew that runs commands of ``cas`` without waiting for Python's start each time.

Each member is a process that has imported cas and forks one process a command: these have
process ids, mutexes and memory of their own, and can be killed, as those of a shell have. So
a race of a minute is of thousands of commands.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .box import Box

_MEMBER = """
import json, os, sys
import cas.cli.commands, cas.cli.parser, cas.cli.results, cas.cli.terminal, cas.cli.upkeep
import cas.experiments, cas.hub, cas.installer, cas.lockfile, cas.resolver
import filelock, sqlite3, tomlkit
from cas.__main__ import main
for line in sys.stdin:
    words, where, told = json.loads(line)
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(where)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd in (1, 2):
            os.dup2(os.open(told, os.O_WRONLY | os.O_APPEND), fd)
        sys.argv = ["cas", *words]
        sys.exit(main())
    print(pid, flush=True)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    print("ended", flush=True)
    sys.stdin.readline()  # its id is its own until nobody may kill it any more
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Crew:
    """So many members, each of which runs one command at a time."""

    def __init__(self, box: Box, members: int) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="proof-crew-")
        self._idle: queue.LifoQueue[_Member] = queue.LifoQueue()
        self._members = [_Member(box, Path(self._scratch.name, f"told{n}")) for n in range(members)]
        for member in self._members:
            self._idle.put(member)

    def run(self, where: Path, *words: str, kill: float | None = None) -> tuple[int, str]:
        """Run a command in a directory, and *kill* it after so many seconds.

        Returns its exit code, -9 where it was killed, and what it said.
        """
        member = self._idle.get()
        try:
            return member.run(where, words, kill)
        finally:
            self._idle.put(member)

    def close(self) -> None:
        """Dismiss all."""
        for member in self._members:
            member.close()
        self._scratch.cleanup()


@contextmanager
def crew(box: Box, members: int) -> Iterator[Crew]:
    """Yield a crew of a box, and dismiss it."""
    made = Crew(box, members)
    try:
        yield made
    finally:
        made.close()


class _Member:
    def __init__(self, box: Box, told: Path) -> None:
        self._told = told
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MEMBER], env=box.env(), cwd=box.root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, where: Path, words: tuple[str, ...], kill: float | None) -> tuple[int, str]:
        self._told.write_bytes(b"")
        self._say(json.dumps([words, str(where), str(self._told)]))
        pid = int(self._hear())
        timer = threading.Timer(kill or 0, os.kill, (pid, signal.SIGKILL))
        if kill is not None:
            timer.start()
        assert self._hear() == "ended"
        if kill is not None:
            timer.cancel()
            timer.join()
        self._say("")
        return int(self._hear()), self._told.read_text(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

"""The tests' Hub in a process of its own, that says how often it was asked.

As a program: ``python -m benchmarks.hub DIRECTORY``. It prints its endpoint; then each line
on stdin is answered: ``reset`` forgets the requests, ``count`` prints them by kind as JSON.
It ends with its stdin, so none is left behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]


class HubProcess:
    """The Hub, as the benchmarks see it; use it as a context manager."""

    def __init__(self, seed: Path) -> None:
        """Start it over the repositories below *seed* (``<kind>s/<org>/<name>/``)."""
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hub", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.endpoint = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def reset(self) -> None:
        """Forget the requests so far."""
        self._ask("reset")

    def requests(self) -> dict[str, int]:
        """Return the number of requests since `reset`, by kind, and of all."""
        counted: dict[str, int] = json.loads(self._ask("count"))
        return counted

    def _ask(self, word: str) -> str:
        pipe = self._process.stdin
        if pipe is None:
            raise RuntimeError("the hub has no stdin")
        pipe.write(f"{word}\n")
        pipe.flush()
        return self._read()

    def _read(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the hub of the benchmarks ended")
        return line.strip()


def serve(seed: Path) -> None:
    """Serve what is below *seed* until stdin ends."""
    from tests.hubserver import Hub
    from tests.hubserver.seed import seed_folder

    hub: Any = Hub()
    for repo in seed_folder(hub, seed):
        for commit in repo.commits.values():
            for file in commit.files.values():
                # hashed once, now, and not while somebody is timed
                _ = file.content.sha256 if file.lfs else file.content.blob
    with hub:
        print(hub.endpoint, flush=True)
        for line in sys.stdin:
            if line.strip() == "reset":
                hub.reset_log()
                print("ok", flush=True)
            elif line.strip() == "count":
                kinds = Counter(record.kind for record in hub.log)
                print(json.dumps({**kinds, "all": kinds.total()}), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

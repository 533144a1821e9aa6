"""The Hub in a process of its own.

Prints its endpoint as the first line on stdout, and ends at SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from .hub import Hub
from .seed import seed_demo, seed_folder


def main() -> int:
    """Parse the arguments, serve, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hubserver", description="a Hub for tests"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 takes a free one")
    parser.add_argument("--cdn-port", type=int, default=0, help="of the origin of LFS files")
    parser.add_argument("--port-file", type=Path, help="a file to write the API's port to")
    parser.add_argument(
        "--seed", default="demo", help="'demo', or a directory <kind>s/<org>/<name>/"
    )
    parser.add_argument("--stage", type=int, default=2, help="the demo's commits: 1 or 2")
    parser.add_argument("--stories", type=int, default=6000, help="how many stories the demo has")
    parser.add_argument("--resolve-cache", action="store_true", help="small files by a redirect")
    parser.add_argument("--token", default="hf_test", help="the token that is accepted")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    hub = Hub(host=given.host, port=given.port, cdn_port=given.cdn_port)
    hub.token, hub.resolve_cache = given.token, given.resolve_cache
    if given.seed == "demo":
        seed_demo(hub, stage=given.stage, count=given.stories)
    elif not Path(given.seed).is_dir():
        parser.error(f"no directory '{given.seed}'")
    else:
        seed_folder(hub, Path(given.seed))
    with hub:
        if given.port_file:
            # written whole under another name, so that who waits for it never reads half
            part = given.port_file.with_name(f"{given.port_file.name}.part")
            part.write_text(f"{hub.port}\n")
            os.replace(part, given.port_file)
        print(hub.endpoint, flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

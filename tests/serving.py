"""A project with something of every kind, and servers over it, for the tests of `cas serve`."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.hubserver import Hub
from tests.hubserver.parquet import make_parquet
from tests.hubserver.seed import seed_gpt2
from tests.scratch import homes

LINES = [f"line {number}" for number in range(2000)]
FIRST = {
    "README.md": b"first\n",
    "data/train.txt": "".join(f"{line}\n" for line in LINES).encode(),
    "data/train.parquet": make_parquet("text", LINES),
    "details_harness|arc:challenge|25_2023-07-19T13:48:53.parquet": b"x" * 3000,
    "odd/100%+#1?&.txt": b"odd\n",
    "odd/données…😀.txt": "é\n".encode(),
    "empty.txt": b"",
    "deep/a/b/c/d.txt": b"d\n",
    "deep/a.txt": b"before deep/a, as git sorts\n",
}
SECOND = FIRST | {"README.md": b"second\n", "new.bin": b"\0" * 5000}

BUILD = """
import cas
cas.init(".")
cas.add("dataset:org/data")
cas.add("dataset:org/data", revision="v1", name="datasets/org/data_v1")
cas.add("gpt2")
cas.add("model:org/part", include=["a.txt"])
cas.add("model:org/part", include=["b.txt"], name="models/part_b")
cas.add("./m.pt")
cas.add("./tok", name="tokenizers/mine")
cas.add("./deep", name="models/one/two/three")
"""


@dataclass
class Lab:
    """A Hub, and a project that locked what it has."""

    hub: Hub
    place: Path
    env: dict[str, str]
    first: str
    second: str
    gpt2: str

    @property
    def project(self) -> Path:
        return self.place / "project"

    def cas(self, *words, code=0, cwd=None, **env):
        done = subprocess.run(
            [sys.executable, "-m", "cas", *words], cwd=cwd or self.project, env=self.env | env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def lock(self) -> dict[str, dict]:
        import tomllib

        rows = tomllib.loads((self.project / "assets.lock").read_text())["asset"]
        return {row["name"]: row for row in rows}


@contextmanager
def lab(place: Path):
    """Yield a project whose assets came from a Hub that has only LFS files, and from here."""
    with Hub() as hub:
        data = hub.repo("org/data", "dataset", lfs=("*",), lfs_over=0)
        first = data.commit(FIRST, "one")
        second = data.commit(SECOND, "two")
        data.tag("v1", first)
        gpt2 = seed_gpt2(hub).head()
        hub.repo("org/part").commit({"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"}, "three")
        env = {
            **{name: text for name, text in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **homes(place),
        }
        made = Lab(hub, place, env, first, second, gpt2)
        project = made.project
        for name, text in {"m.pt": "weights", "tok/tokenizer.json": "{}", "deep/a": "a"}.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        subprocess.run([sys.executable, "-c", BUILD], cwd=project, env=env, check=True)
        yield made


@dataclass
class Reply:
    """One answer: its headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        return self.headers.get("x-error-code")


def ask(url, path="", method="GET", body=None, *, follow=True, **headers) -> Reply:
    """Ask as sent, nothing put right; follow the redirect to where a Hub keeps its bytes."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, f"{at.path}{'?' + at.query if at.query else ''}{path}", body, names)
    answer = connection.getresponse()
    reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    connection.close()
    if follow and reply.status == 302:
        names.pop("Authorization", None)
        there = ask(reply.headers["location"], method=method, **names)
        return Reply(there.status, there.headers | {
            k: v for k, v in reply.headers.items() if k.startswith("x-")}, there.body)  # fmt: skip
    return reply


@contextmanager
def serving(lab: Lab, *words, cwd=None, limit=None, code=143, **env):
    """Yield (URL, process) of a `cas serve`, which is terminated at the end."""
    import resource

    def limited():
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    process = subprocess.Popen(
        [sys.executable, "-m", "cas", "serve", "--port", "0", *words], cwd=cwd or lab.project,
        env=lab.env | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=limited,
    )  # fmt: skip
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"serving at (http://\S+?:\d+)", line):
                break
        else:
            raise AssertionError("".join(said))
        process.said = said
        yield found[1], process
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=60)
        said += rest.splitlines(keepends=True)
    assert process.returncode == code, said


def run(lab: Lab, code: str, url: str, home: Path, **env):
    """Run Python with a Hugging Face client that knows no Hub but *url*."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home, capture_output=True, text=True, check=False, timeout=300,
        env=lab.env | {"HF_ENDPOINT": url, "HF_HOME": str(home)} | env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout

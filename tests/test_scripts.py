"""Run each ``scripts/*.txt``: commands as a user types them, then the files they start from.

After Go's testscript. Every ``cas`` is a process of its own, of the installed command, as an
ordinary user (also where the tests run as root), against a Hub that answers over HTTP. A line
is a verb with words as in a shell; ``$NAME`` is replaced, ``#`` begins a comment.

======================  ====================================================================
``cas …``               run it; it must exit 0. ``! cas …``: 1. ``!4 cas …``: 4
``sh 'line'``           run a line of sh, with the same rules; ``python 'code'`` too
``&``                   as the last word of cas, sh, python: go on; ``wait`` until all ended
``kill TERM|INT|KILL``  send it to the last one begun with ``&``; ``!143 wait`` its exit code
``stdout 'regex'``      a line of what the last command printed; ``! stdout .``: nothing
``stderr 'regex'``      the same of stderr
``let NAME 'regex'``    keep the regex's group of the last stdout as ``$NAME``
``exists PATH…``        each is there, also as a dangling link; ``! exists``: none is
``link PATH…``          each is a symlink; ``! link``: none is
``cmp A B``             two files hold the same; ``! cmp``: they differ
``keep PATH…``          remember the bytes; ``kept PATH…``: they are what they were
``same-tree A B``       two directories hold the same files
``write PATH 'text'``   make or replace a file; ``rm PATH…`` remove; ``mkdir PATH…``
``cd DIR``              the directory of the next commands; ``env NAME=value`` their environment
``umask 077``           of the next commands
``hub …``               see `Script.hub`
``ordinary-user``       skip the rest unless commands run as another user than root
``clean``               no temporary name is left in the project or the store
======================  ====================================================================
"""

from __future__ import annotations

import compileall
import filecmp
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.hubserver import Hub, random_pieces
from tests.scratch import homes

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SCRIPTS = sorted((HERE / "scripts").glob("*.txt"))
BIN = Path(sys.executable).parent
UID = 1000  # who runs the commands where the tests run as root
SECONDS = 60  # a command that takes longer hangs


def ordinary() -> dict[str, object]:
    """Return how to run a process as an ordinary user; as ourselves where that can't be."""
    if os.geteuid():
        return {}
    as_user = {"user": UID, "group": UID, "extra_groups": []}
    try:
        done = subprocess.run([BIN / "cas", "--version"], **as_user, capture_output=True)
    except OSError:
        return {}
    return as_user if done.returncode == 0 else {}


@pytest.fixture(scope="session")
def user():
    compileall.compile_dir(ROOT / "cas", quiet=1)  # the ordinary user can't write it
    return ordinary()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script, user):
    scratch = Path(tempfile.mkdtemp(prefix="cas-script-"))
    try:
        with Hub() as hub:
            run = Script(script, scratch, hub, user)
            try:
                run.all()
            finally:
                run.end()
    finally:
        # a tree's directories are 0555, and an ordinary user's umask may be anything
        subprocess.run(["chmod", "-R", "u+rwX", scratch], stderr=subprocess.DEVNULL)
        shutil.rmtree(scratch, ignore_errors=True)


class Script:
    """One script as it runs."""

    def __init__(self, path: Path, scratch: Path, server: Hub, user: dict[str, object]) -> None:
        self.path, self.server, self.user = path, server, user
        self.work = scratch / "p"
        self.dir = self.work
        self.mask = 0o022
        self.out = {"stdout": "", "stderr": ""}
        self.code = 0
        self.kept: dict[str, bytes] = {}
        self.running: list[tuple[subprocess.Popen[str], str]] = []
        self.names = {
            "WORK": str(self.work),
            "SCRATCH": str(scratch),
            "STORE": str(scratch / "store"),
            "HUB": server.endpoint,
            "HUBHOST": server.endpoint.removeprefix("http://"),
            "REPO": str(ROOT),
            "BIN": str(BIN),
            "PYTHON": sys.executable,
        }
        self.env = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **homes(scratch),
            "HF_ENDPOINT": server.endpoint,
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
        }  # fmt: skip
        scratch.chmod(0o755)
        (scratch / "home").mkdir()
        self.work.mkdir()

    def all(self) -> None:
        """Run every line; raise AssertionError with the place of the first that is not so."""
        __tracebackhide__ = True
        commands, *files = re.split(r"^-- (.+) --\n", self.path.read_text(), flags=re.M)
        for name, text in zip(files[::2], files[1::2], strict=True):
            place = self.work / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self._give()
        lines = commands.replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines, 1):
            words = [self._filled(word) for word in shlex.split(line, comments=True)]
            if not words:
                continue
            try:
                if self._line(words) is False:
                    return
            except AssertionError as error:
                said = f"stdout:\n{self.out['stdout']}\nstderr:\n{self.out['stderr']}"
                raise AssertionError(
                    f"{self.path.name}:{number}: {line}\n{error}\n(exit {self.code}) {said}"
                ) from None

    def end(self) -> None:
        """End what still runs."""
        for process, _ in self.running:
            process.kill()
            process.communicate()

    def _line(self, words: list[str]) -> bool | None:
        expected, fails = 0, words[0].startswith("!")
        if fails:
            expected = int(words[0][1:] or 1)
            words = words[1:]
        verb, *args = words
        match verb:
            case "cas" | "sh" | "python":
                self._run(verb, args, expected)
            case "wait":
                self._wait(expected)
            case "kill":
                self.running[-1][0].send_signal(getattr(signal, f"SIG{args[0]}"))
            case "stdout" | "stderr":
                found = re.search(args[0], self.out[verb], re.M)
                assert bool(found) != fails, f"{verb} {args[0]!r}"
            case "let":
                found = re.search(args[1], self.out["stdout"], re.M)
                assert found, f"no {args[1]!r}"
                self.names[args[0]] = found[1]
            case "ordinary-user":
                return False if os.geteuid() == 0 and not self.user else None
            case "cd":
                self.dir = self.work / args[0]
            case "env":
                for one in args:
                    name, _, value = one.partition("=")
                    self.env[name] = value
                    self.env = {k: v for k, v in self.env.items() if v}
            case "umask":
                self.mask = int(args[0], 8)
            case "hub":
                self.hub(*args)
            case "clean":
                left = [p for p in self._below(self.work, Path(self.names["STORE"]))
                        if p.name.startswith(".cas-")]  # fmt: skip
                assert not left, left
            case _:
                self._files(verb, args, fails=fails)
        return None

    def _files(self, verb: str, args: list[str], *, fails: bool) -> None:
        places = [self.dir / word for word in args]
        match verb:
            case "exists":
                for place in places:
                    assert os.path.lexists(place) != fails, place
            case "link":
                for place in places:
                    assert place.is_symlink() != fails, place
            case "cmp":
                assert (places[0].read_bytes() == places[1].read_bytes()) != fails
            case "same-tree":
                one, other = (sorted(str(p.relative_to(top)) for p in self._below(top)
                                     if p.is_file()) for top in places)  # fmt: skip
                assert one == other
                _, differ, strange = filecmp.cmpfiles(*places, one, shallow=False)
                assert not differ + strange, differ + strange
            case "keep":
                self.kept |= {word: p.read_bytes() for word, p in zip(args, places, strict=True)}
            case "kept":
                for word, place in zip(args, places, strict=True):
                    assert place.read_bytes() == self.kept[word], place
            case "write":
                places[0].parent.mkdir(parents=True, exist_ok=True)
                places[0].write_text(args[1].encode().decode("unicode_escape"))
                self._give()
            case "mkdir":
                for place in places:
                    place.mkdir(parents=True)
                self._give()
            case "rm":
                for place in places:
                    if place.is_dir() and not place.is_symlink():
                        shutil.rmtree(place)
                    else:
                        place.unlink()
            case _:
                raise AssertionError(f"unknown verb {verb!r}")

    def hub(self, verb: str, *words: str) -> None:
        """Do something to the Hub.

        ``hub repo NAME [kind] [gated|private|denied]`` · ``hub commit NAME PATH=TEXT|@BYTES…``
        (``PATH=`` deletes; ``branch=NAME``; the commit's id is ``$COMMIT`` then) · ``hub tag NAME
        TAG`` · ``hub branch NAME BRANCH`` · ``hub pr NAME N`` · ``hub squash NAME`` · ``hub
        rename OLD NEW`` · ``hub paths NAME PATH…`` hostile ones, into its listings · ``hub sha
        NAME TEXT`` a hostile commit · ``hub fault KIND key=value…`` · ``hub clear`` the faults ·
        ``hub off`` · ``hub on`` · ``hub forget`` the requests so far · ``hub requests N [kind=…]``
        there were so many since, ``hub range`` one of them asked for a range
        """
        kinds = {name: repo for (_, name), repo in self.server.repos.items()}
        match verb:
            case "repo":
                kind = next((w for w in words[1:] if w in ("model", "dataset", "space")), "model")
                self.server.repo(
                    words[0], kind, gated="gated" in words or "denied" in words,
                    private="private" in words, allowed="denied" not in words,
                )  # fmt: skip
            case "commit":
                files: dict[str, bytes | None] = {}
                options = {}
                for word in words[1:]:
                    path, _, text = word.partition("=")
                    if path == "branch":
                        options["branch"] = text
                    elif text.startswith("@"):
                        files[path] = b"".join(random_pieces(path, int(text[1:])))
                    else:
                        files[path] = text.encode().decode("unicode_escape").encode() or None
                self.names["COMMIT"] = kinds[words[0]].commit(
                    {path: data for path, data in files.items() if data is not None},
                    delete=[path for path, data in files.items() if data is None],
                    **options,
                )
                self.names["SHORT"] = self.names["COMMIT"][:8]
            case "tag":
                kinds[words[0]].tag(words[1], kinds[words[0]].head())
            case "branch":
                kinds[words[0]].branch(words[1], kinds[words[0]].head())
            case "pr":
                kinds[words[0]].pull_request(int(words[1]), kinds[words[0]].head())
            case "squash":
                self.names["COMMIT"] = kinds[words[0]].squash()
            case "rename":
                repo = kinds[words[0]]
                del self.server.repos[repo.kind, repo.id]
                repo.id = words[1]
                self.server.repos[repo.kind, repo.id] = repo
                self.server.redirect(words[0], words[1], repo.kind)
            case "delete":
                repo = kinds[words[0]]
                del self.server.repos[repo.kind, repo.id]
            case "paths":
                self.server.add_listing_paths(
                    kinds[words[0]], [w.encode().decode("unicode_escape") for w in words[1:]]
                )
            case "sha":
                kinds[words[0]].info_sha = words[1]
            case "fault":
                self.server.fault(words[0], **dict(map(_option, words[1:])))
            case "clear":
                self.server.clear_faults()
            case "off":
                self.server.offline()
            case "on":
                self.server.online()
            case "forget":
                self.server.reset_log()
            case "requests":
                seen = self.server.count(**dict(map(_option, words[1:])))
                assert seen == int(words[0]), f"{seen} requests: {self.server.log}"
            case "range":
                assert any(record.range for record in self.server.log), self.server.log
            case _:
                raise AssertionError(f"unknown verb 'hub {verb}'")

    def _run(self, verb: str, args: list[str], expected: int) -> None:
        beside = args[-1:] == ["&"]
        args = args[:-1] if beside else args
        program = {
            "cas": [str(BIN / "cas")],
            "sh": ["/bin/bash", "-c"],
            "python": [sys.executable, "-c"],
        }[verb]
        process = subprocess.Popen(
            [*program, *args], cwd=self.dir, env=self.env, umask=self.mask, text=True,
            errors="surrogateescape", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **self.user,
        )  # fmt: skip
        self.running.append((process, shlex.join([verb, *args])))
        if not beside:
            self._wait(expected, only=process)

    def _wait(self, expected: int, only: subprocess.Popen[str] | None = None) -> None:
        """Wait for one process, or all; each must end as expected."""
        for process, line in list(self.running):
            if only in (None, process):
                self.running.remove((process, line))
                try:
                    stdout, stderr = process.communicate(timeout=SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise AssertionError(f"{line} hangs") from None
                self.out = {"stdout": stdout, "stderr": stderr}
                self.code = process.returncode
                assert self.code == expected, f"expected exit {expected}, found {self.code}: {line}"
                assert "Traceback" not in stderr or " -v " in line, f"a traceback: {line}"

    def _filled(self, word: str) -> str:
        return re.sub(r"\$([A-Z]+)\b", lambda m: self.names.get(m[1], m[0]), word)

    def _below(self, *tops: Path) -> list[Path]:
        return [Path(at, name) for top in tops for at, folders, files in os.walk(top)
                for name in (*folders, *files)]  # fmt: skip

    def _give(self) -> None:
        """Let the ordinary user own what the script made."""
        if self.user:
            scratch = self.work.parent
            for place in [scratch, *self._below(self.work, scratch / "home"), *scratch.iterdir()]:
                os.chown(place, UID, UID, follow_symlinks=False)


def _option(word: str) -> tuple[str, object]:
    """Read ``key=value``: a number, None, or a text."""
    key, _, text = word.partition("=")
    if text == "None":
        return key, None
    try:
        return key, float(text) if "." in text else int(text)
    except ValueError:
        return key, text


def test_the_runner_tells_what_is_not_so(tmp_path, user):
    """A script that is wrong fails: the runner itself is held by this."""
    for line in ("! cas --version", "cas nope", "cas --version\n! stdout cas", "exists nothing",
                 "write a b\nlink a", "nonsense"):  # fmt: skip
        place = tmp_path / str(time.monotonic_ns())
        place.mkdir()
        script = place / "wrong.txt"
        script.write_text(line + "\n")
        with Hub() as hub, pytest.raises(AssertionError, match=r"wrong\.txt"):
            Script(script, place, hub, {}).all()

"""Any order of commands, against a model of what they promise.

Two projects share a store and a Hub. Hypothesis draws the commands; the model says, for each
of them, its exit code, what the lock names, which bytes every view shows and which trees are
in the store. What fails is printed as the shortest steps that were found.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import cas
from cas import overview, resolver
from cas.__main__ import main
from cas.cli import parser
from cas.digest import hash_bytes
from cas.errors import Edited, NotPulled, OutOfStep
from cas.installer import collect_garbage
from cas.listing import Listing
from cas.names import view_of
from cas.project import Project, forget_current
from cas.project.requests import edit
from cas.request import HubRequest, LocalRequest
from tests.hubserver import Hub

Files = dict[str, bytes]

HUB = {"datasets/o/d": ("dataset", "o/d"), "models/o/m": ("model", "o/m")}
LOCAL = {"models/net": "net", "models/run.pt": "run.pt"}
NAMES = [*HUB, *LOCAL]
INCLUDES = [(), ("*.txt",), ("d/", "*.bin")]

# what is above 10 bytes the Hub keeps in LFS
DATA = st.sampled_from([b"", b"one\n", b"two\n", b"three is large\n", b"four is large\n"])
HUB_FILES = st.dictionaries(
    st.sampled_from(["a.txt", "b.bin", "d/c.txt", "d/e"]), DATA, min_size=1, max_size=3
)
NET_FILES = st.dictionaries(st.sampled_from(["w.bin", "d/x"]), DATA, max_size=2)
PROJECTS = st.sampled_from("aaab")
ANY = st.sampled_from(NAMES)
PICK = st.integers(0, 3)  # one of what there is to choose from


@dataclass(frozen=True)
class Pin:
    """What the lock should say of one asset."""

    request: HubRequest | LocalRequest
    files: Files = field(hash=False)
    commit: str | None = None

    @property
    def tree(self) -> str:
        return tree_of(self.files)


@dataclass
class Place:
    """What one project should be."""

    root: Path
    requests: dict[str, HubRequest | LocalRequest] = field(default_factory=dict)
    pins: dict[str, Pin] = field(default_factory=dict)
    views: dict[str, tuple[str, Files]] = field(default_factory=dict)
    """``link`` with what its tree holds, ``edited``, or ``own``: left by an rm of an edit"""
    sources: dict[str, Files] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        return sorted({*self.requests, *self.pins})

    @property
    def pinned(self) -> list[str]:
        return sorted(self.pins)

    @property
    def copies(self) -> list[str]:
        """The names whose views are files of a person's own."""
        return sorted(name for name, (state, _) in self.views.items() if state != "link")

    def state(self, name: str) -> str:
        return self.views[name][0] if name in self.views else "absent"

    def differing(self) -> set[str]:
        return {
            name
            for name in self.known
            if name not in self.pins or self.requests.get(name) != self.pins[name].request
        }


def tree_of(files: Files) -> str:
    return Listing.of((path, hash_bytes(data)) for path, data in files.items()).digest


def write(place: Path, files: Files, *, single: bool) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    for path, data in files.items():
        target = place if single else place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def read(place: Path) -> Files:
    if place.is_file():
        return {place.name: place.read_bytes()}
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


class Commands(RuleBasedStateMachine):
    """The commands, each with what it should do."""

    hub: Hub

    def __init__(self) -> None:
        super().__init__()
        memory = (
            "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        )  # a sync costs nothing there
        self.top = Path(tempfile.mkdtemp(prefix="cas-model-", dir=memory)).resolve()
        names = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME", "HF_HOME")
        wanted = {name: str(self.top / name) for name in names}
        wanted |= {"CAS_STORE": str(self.top / "store"), "HF_ENDPOINT": self.hub.endpoint}
        self.before = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGTERM)
        os.environ.pop("CAS_PROJECT", None)
        os.environ.update(wanted)
        self.hub.repos.clear()
        self.hub.clear_faults()
        self.repos = {
            name: self.hub.repo(repo, kind, lfs_over=10) for name, (kind, repo) in HUB.items()
        }
        self.heads: dict[str, Files] = {}
        self.store = self.top / "store"
        self.made: dict[str, set[str]] = {}
        """tree → how it was ever made here: ``hub``, ``local``"""
        self.must: set[str] = set()
        """Trees that stand for sure."""
        self.places = {}
        for letter in "ab":
            root = self.top / letter
            cas.init(root)
            self.places[letter] = Place(root)

    def teardown(self) -> None:
        environ, directory, handler = self.before
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(directory)
        signal.signal(signal.SIGTERM, handler)
        forget_current()
        for folder, _, _ in os.walk(self.top):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.top)

    # How it is done

    def cas(self, place: Place, *words: str, code: int) -> str:
        """Run one command as the command line does, and return its stdout."""
        out, err, argv = io.StringIO(), io.StringIO(), sys.argv
        os.chdir(place.root)
        sys.argv = ["cas", *words]
        self.hub.reset_log()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                found = main()
        finally:
            sys.argv = argv
        note(f"    cas {' '.join(words)} → {found}")
        assert found == code, f"{words}: exit {found}, expected {code}\n{err.getvalue()}"
        assert "Traceback" not in err.getvalue()
        if code:
            assert "error: " in err.getvalue() or words[0] in ("status", "verify"), words
        return out.getvalue()

    def trees(self) -> set[str]:
        """Return the trees that stand in the store."""
        return {
            path.parent.name + path.name
            for path in (self.store / "trees").glob("??/*")
            if "." not in path.name
        }

    def has_all(self, pin: Pin) -> bool:
        """Say whether a tree stands, or could be built of what is in the store."""
        digests = {pin.tree, *map(hash_bytes, pin.files.values())}
        here = all((self.store / "objects" / d[:2] / d[2:]).exists() for d in digests)
        return pin.tree in self.must or here

    def stands(self, files: Files, how: str, *, sure: bool = True) -> None:
        tree = tree_of(files)
        self.made.setdefault(tree, set()).add(how)
        if sure:
            self.must.add(tree)

    def on_hub(self, name: str, include: tuple[str, ...]) -> Files | None:
        """Return what a request means on the Hub now; None where a pattern fits nothing."""
        head = self.heads.get(name, {})
        every = [pattern + "*" if pattern.endswith("/") else pattern for pattern in include]
        if not head or not all(any(fnmatchcase(p, one) for p in head) for one in every):
            return None
        chosen = {
            path: data
            for path, data in head.items()
            if not every or any(fnmatchcase(path, one) for one in every)
        }
        return chosen or None

    # The world

    @initialize(d=HUB_FILES, m=HUB_FILES, net=NET_FILES, run=DATA)
    def begin(self, d: Files, m: Files, net: Files, run: bytes) -> None:
        self.commit("datasets/o/d", d, set())
        self.commit("models/o/m", m, set())
        self.write_source("a", "models/net", net, run)
        self.write_source("a", "models/run.pt", net, run)
        self.add_from_the_hub("a", "datasets/o/d", (), pull=True)
        self.add_a_local_path("a", "models/run.pt", dry=False)

    def one(self, at: str, pick: int, what: str) -> tuple[Place, str]:
        """Return a name of a project's *what*; the other one's where it has none."""
        place = self.places[at]
        if not getattr(place, what):
            place = self.places["b" if at == "a" else "a"]
        names = getattr(place, what)
        return place, names[pick % len(names)]

    def any_known(self) -> bool:
        return any(place.known for place in self.places.values())

    def any_pinned(self) -> bool:
        return any(place.pins for place in self.places.values())

    def any_copy(self) -> bool:
        return any(place.copies for place in self.places.values())

    @rule(name=st.sampled_from(list(HUB)), files=HUB_FILES, gone=st.sets(st.integers(0, 2)))
    def commit(self, name: str, files: Files, gone: set[int]) -> None:
        head = self.heads.get(name, {})
        delete = [path for n, path in enumerate(sorted(head)) if n in gone and path not in files]
        self.repos[name].commit(files, delete=delete)
        self.heads[name] = {p: data for p, data in head.items() if p not in delete} | files

    @rule(at=PROJECTS, name=st.sampled_from(list(LOCAL)), net=NET_FILES, run=DATA)
    def write_source(self, at: str, name: str, net: Files, run: bytes) -> None:
        place, source = self.places[at], LOCAL[name]
        single = name == "models/run.pt"
        files = {"run.pt": b"mine " + run} if single else {"config.json": b"{}", **net}
        write(place.root / source, files, single=single)
        place.sources[source] = files

    @rule(at=PROJECTS, name=st.sampled_from(list(LOCAL)))
    def remove_source(self, at: str, name: str) -> None:
        place, source = self.places[at], LOCAL[name]
        if place.sources.pop(source, None):
            write(place.root / source, {}, single=False)

    @precondition(any_copy)
    @rule(at=PROJECTS, pick=PICK, data=DATA)
    def write_into_a_copy(self, at: str, pick: int, data: bytes) -> None:
        place, name = self.one(at, pick, "copies")
        state, files = place.views[name]
        path = min(files)
        files = {**files, path: b"edited " + data}
        write(place.root / view_of(name), files, single=name == "models/run.pt")
        place.views[name] = (state, files)

    @rule(at=PROJECTS, name=ANY)
    def remove_what_is_in_the_place_of_a_view(self, at: str, name: str) -> None:
        place = self.places[at]
        if place.views.pop(name, None):
            write(place.root / view_of(name), {}, single=False)

    @precondition(any_known)
    @rule(
        at=PROJECTS,
        pick=PICK,
        name=st.none() | st.none() | ANY,
        include=st.sampled_from(INCLUDES),
        there=st.sampled_from([True, True, True, False]),
        lock=st.sampled_from([True, True, False]),
    )
    def change_a_request_by_hand(
        self,
        at: str,
        pick: int,
        name: str | None,
        include: tuple[str, ...],
        there: bool,
        lock: bool,
    ) -> None:
        place = self.places[at]
        if name is None:
            place, name = self.one(at, pick, "known")
        request: HubRequest | LocalRequest
        if name in HUB:
            kind, repo = HUB[name]
            request = HubRequest(kind=kind, repo=repo, include=include)
        else:
            request = LocalRequest(local=LOCAL[name])
        file = place.root / "pyproject.toml"
        file.write_bytes(edit(file.read_bytes(), {name: request if there else None}))
        place.requests.pop(name, None)
        if there:
            place.requests[name] = request
        if lock and self.any_known():
            self.lock(at, 0, "", dry=False)

    # add

    @rule(
        at=PROJECTS,
        name=st.sampled_from(list(HUB)),
        include=st.sampled_from(INCLUDES),
        pull=st.booleans(),
    )
    def add_from_the_hub(self, at: str, name: str, include: tuple[str, ...], pull: bool) -> None:
        place, (kind, repo) = self.places[at], HUB[name]
        old = place.requests.get(name)
        if isinstance(old, HubRequest):
            include = include or old.include
        request = HubRequest(kind=kind, repo=repo, include=include)
        pin = place.pins.get(name)
        if pin is None or pin.request != request:
            files = self.on_hub(name, include)
            pin = None if files is None else Pin(request, files, self.repos[name].head())
        words = [word for pattern in include for word in ("--include", pattern)]
        words += [] if pull else ["--no-pull"]
        code = 0
        if pull and place.state(name) in ("edited", "own"):
            code = 2 if place.state(name) == "edited" else 1
        elif pin is None:
            code = 1
        self.cas(place, "add", f"{kind}:{repo}", *words, code=code)
        if not code and pin:
            self.take(place, name, pin, "hub", pull=pull)

    @rule(at=PROJECTS, name=st.sampled_from(list(LOCAL)), dry=st.booleans())
    def add_a_local_path(self, at: str, name: str, dry: bool) -> None:
        place, source = self.places[at], LOCAL[name]
        files = place.sources.get(source)
        code = 0
        if files is None:
            code = 2
        elif not dry and place.state(name) in ("edited", "own"):
            code = 2 if place.state(name) == "edited" else 1
        self.cas(place, "add", f"./{source}", *["--dry-run"] * dry, code=code)
        if not code and files and not dry:
            self.take(place, name, Pin(LocalRequest(local=source), files), "local")

    @precondition(any_copy)
    @rule(at=PROJECTS, pick=PICK)
    def take_a_copy_in(self, at: str, pick: int) -> None:
        place, name = self.one(at, pick, "copies")
        view, files = view_of(name), place.views[name][1]
        self.cas(place, "add", f"./{view}", "--name", name, code=0)
        self.take(place, name, Pin(LocalRequest(local=view), files), "local")

    def take(self, place: Place, name: str, pin: Pin, how: str, *, pull: bool = True) -> None:
        place.requests[name] = pin.request
        place.pins[name] = pin
        self.stands(pin.files, how, sure=pull)
        if pull:
            place.views[name] = ("link", pin.files)

    # lock

    @precondition(any_known)
    @rule(at=PROJECTS, pick=PICK, how=st.sampled_from(["", "one", "all"]), dry=st.booleans())
    def lock(self, at: str, pick: int, how: str, dry: bool) -> None:
        place, name = self.one(at, pick, "known")
        update = name if how == "one" and name in place.pins else "all" if how == "all" else None
        words = {None: (), "all": ("--update-all",)}.get(update, ("--update", str(update)))
        pins, code = {}, 0
        for name, request in place.requests.items():
            pin = self.locked(place, name, request, update)
            if pin is None:
                code = 1
            else:
                pins[name] = pin
        self.cas(place, "lock", *words, *["--dry-run"] * dry, code=code)
        if dry:
            return
        for name, pin in pins.items():  # one that failed may have come after or before
            if isinstance(pin.request, LocalRequest):
                self.stands(pin.files, "local", sure=not code and pin is not place.pins.get(name))
            else:
                self.stands(pin.files, "hub", sure=False)
        if not code:
            place.pins = pins

    def locked(
        self, place: Place, name: str, request: HubRequest | LocalRequest, update: str | None
    ) -> Pin | None:
        """Return the pin that a lock gives a request; None where it fails."""
        old = place.pins.get(name)
        fresh = old is None or old.request != request
        moved = update == "all" or update == name
        if old and not (fresh or moved):
            return old
        if isinstance(request, HubRequest):
            files = self.on_hub(name, request.include)
            if files is None:
                return None
            head = self.repos[name].head()
            return old if old and not fresh and old.commit == head else Pin(request, files, head)
        files = place.sources.get(request.local)
        if request.local == view_of(name) and place.state(name) in ("edited", "own"):
            files = place.views[name][1]
        if files is None:
            return old if old and not fresh and update != name else None
        return Pin(request, files)

    # pull, edit, rm

    @precondition(any_pinned)
    @rule(
        at=PROJECTS,
        pick=st.none() | PICK,
        frozen=st.booleans(),
        force=st.booleans(),
        offline=st.booleans(),
    )
    def pull(self, at: str, pick: int | None, frozen: bool, force: bool, offline: bool) -> None:
        place, one = self.one(at, pick or 0, "pinned")
        name = None if pick is None else one
        self.pulled(place, name, frozen=frozen, force=force, offline=offline)

    @precondition(any_pinned)
    @rule(at=PROJECTS)
    def pull_all(self, at: str) -> None:
        self.pulled(self.places[at], None)

    @precondition(any_known)
    @rule(at=PROJECTS, edit=st.booleans(), name=st.sampled_from(list(HUB)), files=HUB_FILES)
    def update_and_pull(self, at: str, edit: bool, name: str, files: Files) -> None:
        self.commit(name, files, set())
        if edit and name in self.places[at].pins:
            self.edit(at, self.places[at].pinned.index(name))
        self.lock(at, 0, "all", dry=False)
        self.pulled(self.places[at], None)

    def pulled(
        self,
        place: Place,
        name: str | None,
        *,
        frozen: bool = False,
        force: bool = False,
        offline: bool = False,
    ) -> None:
        chosen = [name] if name else sorted(place.pins)
        options = {"--frozen": frozen, "--force": force, "--offline": offline}
        words = [*([name] if name else []), *(word for word, on in options.items() if on)]
        differing = place.differing() & set(chosen) if name else place.differing()
        if differing and not frozen:
            self.cas(place, "pull", *words, code=1)
            return
        state = {one: place.state(one) for one in chosen}
        kept = {one for one in chosen if state[one] == "edited" and not force}
        blocked = {one for one in chosen if state[one] == "own"}
        wanted = {one: place.pins[one] for one in chosen if one not in kept | blocked}
        # files that two of them share come with the first
        absent = {one for one, pin in wanted.items() if not self.has_all(pin)}
        missing = absent if offline else set()
        code = 1 if blocked else 3 if missing else 0
        self.cas(place, "pull", *words, code=code)
        if not absent or offline:
            assert not self.hub.count(), "all of it was here"
        for one in wanted.keys() - missing:
            self.stands(wanted[one].files, "hub" if one in HUB else "local")
            place.views[one] = ("link", wanted[one].files)

    @precondition(any_pinned)
    @rule(at=PROJECTS, pick=PICK)
    def edit(self, at: str, pick: int) -> None:
        place, name = self.one(at, pick, "pinned")
        pin, state = place.pins[name], place.state(name)
        good = state == "edited" or (state != "own" and pin.tree in self.trees())
        self.cas(place, "edit", name, code=0 if good else 1)
        if good and state != "edited":
            place.views[name] = ("edited", pin.files)

    @precondition(any_known)
    @rule(at=PROJECTS, pick=PICK)
    def rm(self, at: str, pick: int) -> None:
        place, name = self.one(at, pick, "known")
        self.cas(place, "rm", name, code=0)
        place.requests.pop(name, None)
        place.pins.pop(name, None)
        state = place.state(name)
        if state == "edited":
            place.views[name] = ("own", place.views[name][1])
        elif state == "link":
            del place.views[name]

    # gc, verify

    @rule(
        at=PROJECTS,
        how=st.sampled_from(["now", "now", "later", "dry", "young"]),
        too=st.sampled_from([False, False, True]),
    )
    def gc(self, at: str, how: str, too: bool) -> None:
        before = self.trees()
        if how == "later":
            now = datetime.now(UTC) + timedelta(days=15)
            collect_garbage(Project(str(self.places[at].root)).store, now=now, local_too=too)
        else:
            words = {"now": ["--older-than", "0d"], "dry": ["--older-than", "0d", "--dry-run"],
                     "young": []}[how]  # fmt: skip
            self.cas(self.places[at], "gc", *words, *["--local-too"] * too, code=0)
        after = self.trees()
        if how in ("dry", "young"):
            assert after == before
            return
        held = {pin.tree for place in self.places.values() for pin in place.pins.values()}
        going = {tree for tree in before - held if too or self.made[tree] == {"hub"}}
        either = {tree for tree in before - held - going if "hub" in self.made[tree]}
        assert before - either - going <= after <= before - going
        self.must &= after
        kept = held | after
        objects = {path.parent.name + path.name for path in (self.store / "objects").glob("??/*")}
        named = set(kept)
        for tree in kept:
            listing = self.store / "objects" / tree[:2] / tree[2:]
            named |= {entry.digest for entry in Listing.parse(listing.read_bytes())}
        assert objects <= named, "what nothing names is gone"

    @rule(at=PROJECTS, level=st.sampled_from([(), ("--fast",), ("--full",)]))
    def verify(self, at: str, level: tuple[str, ...]) -> None:
        report = json.loads(self.cas(self.places[at], "verify", "--json", *level, code=0))
        assert report["bad"] == []

    @precondition(any_pinned)
    @rule(at=PROJECTS, name=st.sampled_from(list(HUB)))
    def a_bit_flips_and_is_repaired(self, at: str, name: str) -> None:
        place = self.places[at]
        pin = place.pins.get(name)
        if not pin or not isinstance(pin.request, HubRequest) or pin.tree not in self.trees():
            return
        data = max(pin.files.values(), key=len)
        if not data:
            return
        digest = hash_bytes(data)
        victim = self.store / "objects" / digest[:2] / digest[2:]
        status = victim.stat()
        victim.chmod(0o644)
        victim.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        victim.chmod(0o444)
        os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
        found = json.loads(self.cas(place, "verify", "--json", "--full", code=1))["bad"]
        assert [bad["hash"] for bad in found] == [digest]
        assert name in found[0]["assets"]
        if place.state(name) != "edited":
            self.cas(place, "path", name, code=1)
        self.cas(place, "verify", "--full", "--repair", code=0)

    # What holds at all times

    @invariant()
    def lock_requests_and_store_are_as_expected(self) -> None:
        for place in self.places.values():
            project = Project(str(place.root))
            assert project.read_settings().requests == place.requests
            lock = project.read_lock().assets
            assert lock.keys() == place.pins.keys()
            for name, pin in place.pins.items():
                asset = lock[name]
                assert asset.request == pin.request
                assert asset.tree == pin.tree, name
                assert asset.commit == pin.commit
                assert asset.files == len(pin.files)
                assert asset.size == sum(map(len, pin.files.values()))
            try:
                resolver.check(project)
            except OutOfStep:
                assert place.differing()
            else:
                assert not place.differing()
        standing = self.trees()
        assert self.must <= standing
        assert standing <= self.made.keys()

    @invariant()
    def every_view_shows_the_bytes_that_it_should(self) -> None:
        standing = self.trees()
        for place in self.places.values():
            for name in NAMES:
                view = place.root / view_of(name)
                if name not in place.views:
                    assert not os.path.lexists(view), name
                    continue
                state, files = place.views[name]
                assert view.is_symlink() == (state == "link"), name
                if state != "link" or tree_of(files) in standing:
                    assert read(view) == files, name
                else:
                    assert not view.exists(), name

    @invariant()
    def path_gives_what_is_locked_or_says_why_not(self) -> None:
        standing = self.trees()
        for place in self.places.values():
            project = Project(str(place.root))
            for name, pin in place.pins.items():
                if place.state(name) == "edited":
                    with pytest.raises(Edited):
                        project.path(name)
                elif pin.tree not in standing:
                    with pytest.raises(NotPulled):
                        project.path(name)
                else:
                    assert read(Path(project.path(name))) == pin.files

    @invariant()
    def status_says_how_it_is(self) -> None:
        standing = self.trees()
        for place in self.places.values():
            wanted = {}
            for name in {*place.requests, *place.pins}:
                pin, state = place.pins.get(name), place.state(name)
                if pin is None or name in place.differing():
                    wanted[name] = "not locked"
                elif state == "edited":
                    wanted[name] = "edited"
                elif pin.tree not in standing:
                    wanted[name] = "not pulled"
                elif state == "absent":
                    wanted[name] = "view missing"
                elif state == "own":
                    wanted[name] = "blocked"
                else:
                    shown = tree_of(place.views[name][1])
                    wanted[name] = "ok" if shown == pin.tree else "view differs"
            report = overview.status(Project(str(place.root)))
            assert {row["name"]: row["state"] for row in report["assets"]} == wanted
            assert report["lock"] == ("out of step" if place.differing() else "in step")


@pytest.fixture
def commands(monkeypatch, tmp_path):
    from huggingface_hub import constants

    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(Commands, "hub", hub, raising=False)
        # the same for every command, and half of the time of one
        monkeypatch.setattr(parser, "build", cache(parser.build))
        yield Commands


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def test_commands_in_any_order_do_what_they_promise(commands):
    few = settings(max_examples=80, stateful_step_count=30, derandomize=True, **QUIET)
    run_state_machine_as_test(commands, settings=few)


@pytest.mark.full
def test_many_commands_in_any_order_do_what_they_promise(commands):
    many = settings(
        max_examples=int(os.environ.get("N", "400")),
        stateful_step_count=60,
        print_blob=True,
        **QUIET,
    )
    run_state_machine_as_test(commands, settings=many)

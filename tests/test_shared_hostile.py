"""A member of the group who means harm: what a shared store can't be made to do to the others.

He may write the store's directories, so he can give names in them to anything: links to what is
others', FIFOs, repositories. Nobody may follow them, wait for them, or run what they name.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest

from cas.digest import hash_bytes
from cas.errors import CasError
from cas.files import exchange, remove_tree
from cas.store import open_store
from cas.store.trees import link_object

from .shared import ANN, BEN, GROUP, Account, machine, share

FILES = {"a.txt": b"alpha\n", "sub/b.bin": os.urandom(300_000), "empty": b""}
OLD = time.time() - 90 * 86400
DRAWN = "ab" * 16
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture
def top():
    with machine() as place:
        yield place


@pytest.fixture
def lab(top):
    """A user who has an asset in the shared store, and one who means him harm."""
    share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.begin(FILES)
    return ann, ben


def test_sharing_a_store_again_opens_nothing_that_a_link_leads_to(lab, top):
    ann, ben = lab
    store = top / "store"
    secret = top / "secret"
    secret.write_text("the administrator's\n")
    secret.chmod(0o600)
    ben.must("ln", "-s", str(secret), str(store / "mutex/link"))
    ben.must("ln", "-s", str(top), str(store / "roots/link"))
    ben.must("mkfifo", str(store / "mutex/fifo"))
    before = top.stat()
    root = Account(0, top)
    root.cas("store", "init", "--shared", str(store), "--group", str(GROUP))
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert (top.stat().st_mode, top.stat().st_gid) == (before.st_mode, before.st_gid)
    ann.cas("pull")


@pytest.mark.parametrize("who", ["administrator", "user"])
def test_gc_deletes_nothing_that_a_link_among_the_roots_leads_to(who, lab, top):
    ann, ben = lab
    results = ann.home / "results"
    ann.must("mkdir", "-p", str(results / "whole.json"))
    for name in ("run.json", "whole.json/more", "other.txt"):
        ann.must("sh", "-c", f"echo 1 > {results}/{name}")
    for path in results.rglob("*"):
        os.utime(path, (OLD, OLD))
    ann.home.chmod(0o755)
    ben.must("ln", "-s", str(results), str(top / "store/roots" / DRAWN))
    before = sorted(results.rglob("*"))
    (Account(0, top) if who == "administrator" else ann).run(
        *_cas("gc", "--older-than", "0d")
    )  # it may refuse
    assert sorted(results.rglob("*")) == before


def _cas(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "cas", *words)


def test_gc_runs_no_program_that_a_co_users_repository_names(lab, top):
    """Git fetches what a partial clone lacks, by a command that the repository's config names."""
    ann, ben = lab
    ben.begin({"x": b"x"})
    told = top / "told"
    told.mkdir()
    told.chmod(0o777)
    ben.must("git", "init", "-q", ".")
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(ben.project),
        "remote.origin.uploadpack": f"id -u > {told}/$$; false",
    }.items():
        ben.must("git", "config", name, value)
    ben.must("sh", "-c", f"echo {'12' * 20} > .git/refs/heads/main")
    ben.home.chmod(0o755)
    for account in (ann, Account(0, top)):
        account.run(*_cas("gc", "--older-than", "0d"))
    assert [path.read_text() for path in told.iterdir()] == []


OBJECT = hash_bytes(FILES["sub/b.bin"])
PARTIAL = f"staging/{OBJECT}.elsewhere-1-ab"
PLANTED = {
    "root": ("gc", f"mkdir -p roots/{DRAWN} && mkfifo roots/{DRAWN}/root.json"),
    "call": ("gc", f"mkdir -p roots/{DRAWN} && mkfifo roots/{DRAWN}/host-1-ab.json"),
    "endless call": ("gc", f"mkdir -p roots/{DRAWN} && ln -s /dev/zero roots/{DRAWN}/h-1-a.json"),
    "hint": ("gc", "mkdir -p recipes/ab && mkfifo recipes/ab/" + "c" * 62),
    "sidecar": ("pull", "mkfifo trees/$TREE.json"),
    "sidecar of a tree": ("stands", "rm -f trees/$TREE.json && mkfifo trees/$TREE.json"),
    "endless sidecar": ("stands", "rm -f trees/$TREE.json && ln -s /dev/zero trees/$TREE.json"),
    "endless listing": (
        "stands",
        "cp objects/$TREE /tmp/$WHOLE && rm -f objects/$TREE && cp /tmp/$WHOLE objects/$TREE && "
        "rm /tmp/$WHOLE && chmod u+w objects/$TREE && truncate -s 4T objects/$TREE",
    ),
    "object": ("pull", f"mkfifo objects/{OBJECT[:2]}/{OBJECT[2:]}"),
    "partial": ("pull", f"mkfifo {PARTIAL}"),
    "endless partial": ("pull", f"ln -s /dev/zero {PARTIAL}"),
    "mutex": ("pull", "mkfifo mutex/$WHOLE && chmod 0 mutex/$WHOLE"),
    "linked mutex": ("pull", "ln -s /etc/hostname mutex/$WHOLE"),
    "mutex that is a directory": ("pull", "mkdir mutex/$WHOLE"),
    "closed mutex": ("pull", "touch mutex/$WHOLE && chmod 0 mutex/$WHOLE"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_co_user_plants_holds_nobody_up(what, top):
    """Each asset is had all the same, in the user's own store where the shared one is spoilt."""
    store = share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.env["CAS_STORE"] = str(ann.home / "first")
    ann.begin(FILES)
    ann.cas("remote", "add", "lab", f"file://{ann.home}/remote")
    ann.cas("push")
    ann.must("rm", "-r", "source")
    whole = ann.place("source").parent.name + ann.place("source").name
    ann.env["CAS_STORE"] = str(store)
    ann.must("rm", "-r", "assets/datasets/source")
    command, script = PLANTED[what]
    if command == "stands":
        ann.home.chmod(0o755)
        ben.takes_lock_of(ann)
        ben.cas("pull")
    names = {"TREE": f"{whole[:2]}/{whole[2:]}", "WHOLE": whole}
    ben.must("sh", "-c", f"cd {store} && {_set(names)} {script}")
    words = ["gc", "--older-than", "0d"] if command == "gc" else ["pull"]
    done = ann.popen("prlimit", "--as=4000000000", *_cas(*words))
    try:
        out, err = done.communicate(timeout=60)
    finally:
        done.kill()
    assert "Traceback" not in err, err
    if command != "gc":
        assert done.returncode == 0, (out, err)
        assert ann.read("source") == FILES


def _set(names: dict[str, str]) -> str:
    return "".join(f"{name}={value};" for name, value in names.items())


def test_who_waits_for_anothers_mutex_is_told(lab, top):
    ann, ben = lab
    gc = str(top / "store/mutex/gc")
    holder = ben.popen("flock", "-x", gc, "sh", "-c", "echo held; sleep 3")
    assert holder.stdout.readline() == "held\n"
    ann.must("rm", "assets/datasets/source")
    assert "holds" in ann.cas("pull")
    holder.communicate(timeout=60)
    assert ann.read("source") == FILES


@contextmanager
def _served(account: Account, *words: str) -> Iterator[str]:
    """Serve as that user; yield the URL."""
    process = account.popen(*_cas("serve", "--port", "0", *words))
    try:
        said = ""
        while "serving at" not in said:
            said = process.stderr.readline()
            assert said, process.communicate()
        yield re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("what", ["a.txt", "sub/b.bin"])
def test_serve_gives_out_nothing_that_a_link_put_into_a_tree_leads_to(what, lab, top):
    """Who owns a tree can put a link into it, and serve reads it as another user."""
    ann, ben = lab
    ben.takes_lock_of(ann)
    ben.cas("pull")
    secret = ben.home / "secret" / Path(what).name
    secret.parent.mkdir()
    secret.write_bytes(bytes(len(FILES[what])))
    tree = ann.place("source")
    name = f"/datasets/source/resolve/main/{what}"
    with _served(ben) as url:
        assert _get(url + name) == (200, FILES[what])
        for directory in (tree, tree / "sub"):
            directory.chmod(0o755)
        if "/" in what:
            ann.must("mv", str(tree / "sub"), str(tree / "was"))
            ann.must("ln", "-s", str(secret.parent), str(tree / "sub"))
        else:
            ann.must("ln", "-sf", str(secret), str(tree / what))
        assert _get(url + name) in ((200, FILES[what]), (503, ANY))


def test_serve_all_shows_no_project_that_another_user_names(lab, top):
    """Ben serves the store; Ann names a project of Ben's that lies in a store of his own."""
    ann, ben = lab
    own = {"CAS_STORE": str(ben.home / "own")}
    shared, ben.env = ben.env, ben.env | own
    ben.write("private", {"hidden.txt": b"hidden\n"})
    ben.python("import cas; cas.init(); cas.add('./private')")
    ben.must("sh", "-c", "printf '[tool.cas]\\nstore = \"%s\"\\n' $CAS_STORE >> pyproject.toml")
    (root,) = (ben.home / "own/roots").iterdir()
    ben.home.chmod(0o755)
    planted = str(top / "store/roots" / DRAWN)
    ann.must("mkdir", planted)
    ann.must("cp", str(root / "root.json"), planted)
    ben.env = {name: text for name, text in shared.items() if name != "CAS_STORE"}
    ben.must("mkdir", "-p", "../.config/cas", "../elsewhere")
    ben.must("sh", "-c", f"echo 'store = \"{top}/store\"' > ../.config/cas/config.toml")
    ben.project = ben.home / "elsewhere"
    with _served(ben, "--all") as url:
        shown = [row["id"] for row in json.loads(_get(f"{url}/api/datasets")[1])]
    assert shown == ["source"]  # Ann's own project, which she named


def test_emptying_a_directory_goes_through_no_link_put_in_its_place(tmp_path):
    """Who owns a directory can put a link in its place while another user removes it."""
    victim = tmp_path / "victim"
    victim.mkdir()
    names = [str(number) for number in range(5)]
    for name in names:
        (victim / name).touch()
    for number in range(100):
        work = tmp_path / str(number)
        (work / "inner").mkdir(parents=True)
        for name in range(20):
            (work / "inner" / str(name)).touch()
        (work / "link").symlink_to(victim)
        over = threading.Event()
        thread = threading.Thread(target=_swap, args=(work / "inner", work / "link", over))
        thread.start()
        try:
            remove_tree(work)
        except OSError:
            pass  # it was a link just then: the next gc removes it
        over.set()
        thread.join()
        assert sorted(os.listdir(victim)) == names


def _swap(one: Path, other: Path, over: threading.Event) -> None:
    while not over.is_set():
        try:
            exchange(one, other)
        except OSError:
            return


def test_an_object_that_became_a_link_is_not_copied_into_a_tree(lab, top):
    """Between the look at an object and its link its owner can put another in its place."""
    ann, _ = lab
    store = open_store(top / "store")
    digest = hash_bytes(FILES["sub/b.bin"])
    place = store.object(digest)
    secret = top / "secret"
    secret.write_bytes(b"the administrator's")
    ann.must("ln", "-sf", str(secret), place)
    target = top / "target"
    with pytest.raises((CasError, OSError)):
        link_object(store, digest, str(target), "b.bin", single=False)
    assert not target.exists() or target.read_bytes() != secret.read_bytes()


def test_a_partial_that_is_a_link_is_not_taken_over(lab, top):
    """A link among the partial downloads changes nothing of what it leads to."""
    from cas.files import host
    from cas.store import Staging

    ann, _ = lab
    secret = top / "secret"
    secret.write_bytes(b"the administrator's")
    secret.chmod(0o604)
    digest = hash_bytes(b"whatever")
    dead = f"{digest}.{host()}-4194303-abcdef"
    ann.must("ln", "-s", str(secret), str(top / "store/staging" / dead))
    staged = Staging(open_store(top / "store")).open("it", sha256=digest)
    assert staged.offset == 0
    staged.abandon(keep=False)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o604

"""What another user of a shared store put there, where it is wrong or in the way.

As root each account is a uid of its own; anybody else can't have a second one, and skips.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.hubserver import Hub

from .shared import (
    ANN,
    BEN,
    GROUP,
    STRANGER,
    Account,
    holders,
    machine,
    overwrite,
    owners,
    share,
)

FILES = {"a.txt": b"alpha\n", "sub/b.bin": os.urandom(300_000)}
WEIGHTS = "model.safetensors"
HUB = {"config.json": b"{}", WEIGHTS: os.urandom(2_000_000)}
READ = """
import fsspec, hashlib, sys
fs = fsspec.filesystem("cas")
for path in sys.argv[1:]:
    print(fs.info(path)["size"], hashlib.sha256(fs.cat_file(path)).hexdigest() == fs.ukey(path))
"""
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture(scope="module")
def server():
    with Hub() as made:
        yield made


@pytest.fixture
def hub(server):
    """A Hub with an open and a gated model, both alike but for access."""
    server.repos.clear()
    server.repo("org/model").commit(HUB)
    server.repo("org/gated", gated=True).commit(HUB)
    server.reset_log()
    return server


@pytest.fixture
def lab(hub):
    """Two users of one shared store."""
    with machine() as top:
        share(top)
        accounts = Account(ANN, top), Account(BEN, top)
        for account in accounts:
            account.env |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}
        accounts[0].cas("init")
        yield accounts


def store_of(account: Account) -> Path:
    return Path(account.env["CAS_STORE"])


def own_of(account: Account) -> Path:
    return account.home / ".local/share/cas/store"


def read(account: Account, *paths: str) -> list[str]:
    """Return, for each path under ``cas://``, its size and whether its bytes are locked ones."""
    return account.must(sys.executable, "-c", READ, *paths).splitlines()


# Wrong bytes under cas:// ---------------------------------------------------------------------


@pytest.mark.parametrize("source", ["hub", "remote"])
def test_a_wrong_object_of_a_co_user_is_fetched_again_into_the_own_store(lab, hub, source):
    ann, ben = lab
    ann.cas("add", "model:org/model")
    ben.takes_lock_of(ann)
    if source == "remote":
        far = store_of(ann).parent / "far"
        far.mkdir()
        os.chown(far, ann.uid, GROUP)
        ann.cas("remote", "add", "lab", f"file://{far}/cas")
        ann.cas("push")
        ben.takes_lock_of(ann)
    overwrite([holders(store_of(ann), HUB[WEIGHTS])[0]], bytes(len(HUB[WEIGHTS])))
    hub.reset_log()
    good = f"{len(HUB[WEIGHTS])} True"
    assert read(ben, f"model/{WEIGHTS}") == [good]
    fetched = [record.file for record in hub.requests(kind="resolve")]
    assert fetched == ([WEIGHTS] if source == "hub" else [])
    assert len(holders(own_of(ben), HUB[WEIGHTS])) == 1
    assert holders(store_of(ann), HUB[WEIGHTS]) == []
    hub.reset_log()
    ben.cas("gc", "--older-than", "0d")  # his lock holds it
    assert read(ben, f"model/{WEIGHTS}", "model/config.json") == [good, "2 True"]
    assert hub.requests(kind="resolve") == []


def test_a_right_object_of_a_co_user_is_copied_where_the_store_says_own(lab, hub):
    ann, ben = lab
    ann.cas("add", "model:org/model", "--no-pull")
    assert read(ann, f"model/{WEIGHTS}") == [f"{len(HUB[WEIGHTS])} True"]  # one object, no tree
    (store_of(ann) / "settings.toml").write_text('trust = "own"\n')
    ben.takes_lock_of(ann)
    hub.reset_log()
    assert read(ben, f"model/{WEIGHTS}") == [f"{len(HUB[WEIGHTS])} True"]
    assert hub.requests(kind="resolve") == []
    (theirs,) = holders(store_of(ann), HUB[WEIGHTS])
    (his,) = holders(own_of(ben), HUB[WEIGHTS])
    assert (theirs.stat().st_uid, his.stat().st_uid) == (ann.uid, ben.uid)
    overwrite([theirs], bytes(len(HUB[WEIGHTS])))
    assert read(ben, f"model/{WEIGHTS}") == [f"{len(HUB[WEIGHTS])} True"]


def test_a_wrong_listing_of_a_co_user_is_made_again_in_the_own_store(lab):
    ann, ben = lab
    ann.cas("add", "model:org/model", "--no-pull")
    ben.takes_lock_of(ann)
    (listing,) = (p for p in (store_of(ann) / "objects").rglob("*")
                  if p.is_file() and p.read_bytes().startswith(b"# cas-tree"))  # fmt: skip
    overwrite([listing], bytes(listing.stat().st_size))
    assert read(ben, "model/config.json") == ["2 True"]
    assert listing.name in {p.name for p in (own_of(ben) / "objects").rglob("*")}


def test_the_size_of_a_co_users_wrong_object_is_not_told(lab):
    ann, ben = lab
    ann.cas("add", "model:org/model", "--no-pull")
    ben.takes_lock_of(ann)
    wrong = holders(store_of(ann), HUB["config.json"])[0]
    wrong.chmod(0o644)
    wrong.write_bytes(b"a longer one")
    assert read(ben, "model/config.json") == ["2 True"]


# Gated and private assets under cas:// ----------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_a_gated_file_goes_to_the_own_store_unless_the_project_shares_it(lab, shared):
    ann, _ = lab
    ann.cas("add", "model:org/gated", "--no-pull")
    if shared:
        place = ann.project / "pyproject.toml"
        text = place.read_text()
        share_it = '[tool.cas]\nshare = ["models/org/gated"]\n'
        place.write_text(text.replace("[tool.cas.assets]", f"{share_it}[tool.cas.assets]"))
    assert read(ann, f"gated/{WEIGHTS}") == [f"{len(HUB[WEIGHTS])} True"]
    found = {bool(holders(one, HUB[WEIGHTS])) for one in (store_of(ann), own_of(ann))}
    assert found == {True, False}
    assert bool(holders(store_of(ann), HUB[WEIGHTS])) == shared
    assert shared or owners(store_of(ann), "objects") == set()
    ann.cas("gc", "--older-than", "0d")
    assert holders(store_of(ann) if shared else own_of(ann), HUB[WEIGHTS])


# Marks of damage -------------------------------------------------------------------------------


def test_a_mark_of_damage_by_another_user_blocks_nobody_but_him(lab):
    ann, ben = lab
    ann.write("source", FILES)
    ann.cas("add", "./source")
    ben.takes_lock_of(ann)
    ben.cas("pull")
    tree = ann.place("source")
    ben.must("sh", "-c", f"echo wrong > {tree}.bad")
    assert ann.read("source") == FILES
    ann.cas("status")
    ann.cas("pull")
    ann.cas("verify", "--full")
    assert "damage was found" in ben.cas("path", "source", code=1)


def test_a_co_users_mark_does_not_hide_damage_that_is_found_later(lab):
    ann, ben = lab
    ann.write("source", FILES)
    ann.cas("add", "./source")
    tree = ann.place("source")
    ben.must("sh", "-c", f"echo wrong > {tree}.bad")
    overwrite([holders(store_of(ann), FILES["sub/b.bin"])[0]], bytes(300_000))
    assert "1 bad" in ann.cas("verify", "--full", code=1)
    assert "damage was found" in ann.cas("path", "source", code=1)
    ann.cas("verify", "--full", "--repair", code=0)
    assert ann.read("source") == FILES


def test_a_mark_of_the_trees_owner_is_believed(lab):
    ann, ben = lab
    ann.write("source", FILES)
    ann.cas("add", "./source")
    ben.takes_lock_of(ann)
    ben.cas("pull")
    tree = ann.place("source")
    ann.must("sh", "-c", f"echo wrong > {tree}.bad")
    for account in lab:
        assert "damage was found" in account.cas("path", "source", code=1)


# gc ----------------------------------------------------------------------------------------------


def test_gc_collects_the_own_store_of_who_may_not_write_the_shared_one(lab):
    ann, _ = lab
    ann.cas("add", "model:org/gated")
    ann.cas("rm", "gated")
    ann.groups = (STRANGER,)
    would = json.loads(ann.cas("gc", "--older-than", "0d", "--dry-run", "--json", "-q"))
    assert (would["trees"], would["dry_run"]) == (1, True)
    said = ann.cas("gc", "--older-than", "0d", code=1)
    assert "1 tree and 3 objects went" in said
    assert f"the store {store_of(ann)} can't be written: permission denied: it is the group" in said
    assert holders(own_of(ann), HUB[WEIGHTS]) == []
    assert "0 trees and 0 objects went" in ann.cas("gc", "--older-than", "0d", code=1)


def test_gc_collects_the_own_store_where_a_root_of_the_shared_one_cant_be_read(lab):
    ann, ben = lab
    ann.cas("add", "model:org/gated")
    ann.cas("rm", "gated")
    ben.cas("init")
    ben.write("source", FILES)
    ben.cas("add", "./source")
    (root,) = (p for p in (store_of(ann) / "roots").rglob("root.json") if p.stat().st_uid == BEN)
    root.write_bytes(root.read_bytes()[:-9])
    said = ann.cas("gc", "--older-than", "0d", code=1)
    assert "1 tree and 3 objects went" in said
    assert "nothing was deleted: root" in said
    assert holders(own_of(ann), HUB[WEIGHTS]) == []
    assert holders(store_of(ann), FILES["a.txt"]) != []

"""``cas drop``: what goes from this disk can be had again, whatever a remote says of itself."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from cas.digest import hash_bytes
from tests import bucket as buckets
from tests.badline import BadLine
from tests.hubserver import Hub
from tests.test_remotes_cli import Machine, objects, spoil

FILES = {"a.txt": b"a.txt", "b.txt": b"b.txt", "none.txt": b""}


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        server.repo("o/n", "dataset").commit(
            {"small.txt": "small\n", "large.bin": os.urandom(9999)}
        )
        yield server


@pytest.fixture(scope="module")
def server():
    with buckets.running() as made:
        yield made


@pytest.fixture
def machine(tmp_path, hub):
    """A project with a dataset that is nowhere else, and a directory as its remote."""
    made = Machine(tmp_path, hub)
    (made.root / "corpus").mkdir()
    for name, data in FILES.items():
        (made.root / "corpus" / name).write_bytes(data)
    made.run("add", "./corpus")
    shutil.rmtree(made.root / "corpus")
    made.run("remote", "add", "lab", f"file://{tmp_path}/shared")
    yield made
    made.forget_store()


def is_here(machine: Machine) -> bool:
    return all(machine.read(f"datasets/corpus/{name}") == data for name, data in FILES.items())


def flip(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


@pytest.mark.parametrize("what", ["'a.txt'", "its listing"])
def test_a_remote_with_one_byte_flipped_is_not_the_second_copy(machine, tmp_path, what):
    machine.run("push")
    found = objects(tmp_path / "shared")
    (listing,) = [p for p in found.values() if p.read_bytes().startswith(b"# cas-tree")]
    victim = listing if what == "its listing" else found[hash_bytes(b"a.txt")]
    spoil(victim, flip(victim.read_bytes()))
    said = machine.run("drop", "corpus", code=1)
    assert f"'lab' has other bytes of {what}" in said
    assert "cas verify --remote lab --full --repair" in said
    assert is_here(machine)
    machine.run("verify", "--remote", "lab", "--full", "--repair")
    assert machine.json("drop", "corpus")[0]["sources"] == ["lab"]
    machine.run("pull")
    assert is_here(machine)


def test_the_next_remote_is_read_where_the_first_lies(machine, tmp_path):
    machine.run("remote", "add", "second", f"file://{tmp_path}/second")
    machine.run("push")
    machine.run("push", "--remote", "second")
    victim = objects(tmp_path / "shared")[hash_bytes(b"b.txt")]
    spoil(victim, flip(b"b.txt"))
    assert machine.json("drop", "corpus")[0]["sources"] == ["second"]
    machine.run("pull")
    assert is_here(machine)


def test_a_dry_run_looks_and_reads_nothing_back(machine, tmp_path):
    machine.run("push")
    victim = objects(tmp_path / "shared")[hash_bytes(b"b.txt")]
    spoil(victim, flip(b"b.txt"))
    assert machine.json("drop", "corpus", "--dry-run")[0]["sources"] == ["lab"]
    assert "a remote's bytes are read back first" in machine.said
    assert is_here(machine)


def test_a_bucket_is_believed_by_its_bytes_and_by_nothing_that_it_says(machine, server):
    with BadLine(server.endpoint) as line:
        machine.env |= server.environment | {"AWS_ENDPOINT_URL": line.endpoint}
        prefix = os.urandom(4).hex()
        machine.run("remote", "rm", "lab")
        machine.run("remote", "add", "lab", f"s3://lab-bucket/{prefix}")
        machine.run("push")
        # names, sizes and ETags are right, the bytes are not
        line.fault("corrupt", part="/objects/", times=99, at=0)
        assert "'lab' has other bytes of" in machine.run("drop", "corpus", code=1)
        assert is_here(machine)
        line.reset()
        (row,) = machine.json("drop", "corpus")
        assert row["sources"] == ["lab"]
        assert line.count("GET", "/objects/") == 4  # three files and the listing, once each
        machine.run("pull")
        assert is_here(machine)


def test_what_the_hub_states_the_hashes_of_is_not_read_back(machine, tmp_path):
    machine.run("add", "dataset:o/n")
    machine.run("push", "o/n")
    victim = objects(tmp_path / "shared")[hash_bytes(b"small\n")]
    spoil(victim, b"SMALL\n")
    (row,) = machine.json("drop", "o/n")
    assert row["sources"][0].startswith("o/n@")
    machine.run("pull")
    machine.hub_off()
    said = machine.run("drop", "o/n", code=1)
    assert "'lab' has other bytes of 'small.txt'" in said
    assert "no connection" in said
    assert machine.read("datasets/o/n/small.txt") == b"small\n"


def test_what_a_push_under_way_reads_is_not_dropped(machine, server):
    machine.run("add", "dataset:o/n")  # the Hub has it, so only the push is in the way
    with BadLine(server.endpoint) as line:
        machine.env |= server.environment | {"AWS_ENDPOINT_URL": line.endpoint}
        machine.run("remote", "add", "far", f"s3://lab-bucket/{os.urandom(4).hex()}")
        held = line.fault("hold", method="PUT")
        push = machine.start("push", "o/n", "--remote", "far")
        until = time.monotonic() + 60
        while not held.hits and time.monotonic() < until and push.poll() is None:
            time.sleep(0.01)
        said = machine.run("drop", "o/n", code=1)
        assert "is also needed by a call of" in said
        line.reset()
        push.kill()
        push.communicate()
        machine.run("drop", "o/n")  # whoever was killed needs nothing


def test_pushes_and_drops_at_once_lose_nothing(machine, tmp_path):
    for turn in range(4):
        calls = [machine.start("push"), machine.start("drop", "corpus"), machine.start("push")]
        time.sleep(0.1 * turn)
        calls.append(machine.start("drop", "corpus"))
        for call in calls:
            _, said = call.communicate(timeout=120)
            assert "Traceback" not in said
        machine.run("pull")
        assert is_here(machine)
    machine.run("verify", "--full")
    machine.run("verify", "--remote", "lab", "--full")

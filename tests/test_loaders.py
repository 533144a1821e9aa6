"""The room cas.loaders: every token once an epoch, in an order that can be repeated."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import cas  # noqa: E402
from cas import project  # noqa: E402
from cas.errors import CasError, NotPulled, RecipeError, UnknownAsset, UsageError  # noqa: E402
from cas.loaders import Order  # noqa: E402
from tests import stories  # noqa: E402

ENV = ("CAS_STORE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME")
WORDS = "tokenizers/own_bpe_400"
USED = """SELECT DISTINCT a.name, a.tree, a.role FROM experiment_assets a
    JOIN experiments e USING (experiment_id) WHERE e.experiment_name = ?"""

# by the same rule in plain Python: integers, no numpy
GOLDEN_ORDER = {
    10: [8, 1, 5, 6, 7, 4, 9, 3, 0, 2],
    100_003: "4df9f6cd5db758be2dc143ade0118e5a747fda8f6f5d9825b53d81be4c10b8db",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project with two datasets, one with a validation split, and a tokenizer."""
    top = tmp_path_factory.mktemp("loaders")
    before = dict(os.environ)
    os.environ.update({name: str(top / name) for name in ENV})
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    cwd, threads = Path.cwd(), torch.get_num_threads()
    torch.set_num_threads(1)  # where others are at work two wait for each other
    own, plain = top / "own", top / "plain"
    own.mkdir()
    plain.mkdir()
    stories.write_txt(own / "own-train.txt", 150_000, seed=1)
    stories.write_txt(own / "own-valid.txt", 12_000, seed=2)
    for number in range(4):
        stories.write_jsonl(plain / f"part-{number}.jsonl", 120, seed=10 + number)
    cas.init(top / "project")
    os.chdir(top / "project")
    project.forget_current()
    cas.add(own, name="datasets/own")
    cas.add(plain, name="datasets/plain")
    cas.add(WORDS)
    yield top
    torch.set_num_threads(threads)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(before)
    project.forget_current()


@pytest.fixture(autouse=True)
def _here(place):
    """In the module's project."""


def load(dataset="own", tokenizer=WORDS, **options):
    options = {"max_length": 64, "batch_size": 8} | options
    return cas.load_training_data(dataset, tokenizer, **options)


def texts(top, name):
    """The documents of a dataset, read by other means than cas's."""
    if name == "plain":
        files = sorted((top / "plain").iterdir())
        return [json.loads(line)["text"] for f in files for line in f.read_text().splitlines()]
    whole = (top / "own" / f"own-{name}.txt").read_text()
    return [one.strip("\n") for one in whole.split(stories.SEPARATOR) if one.strip("\n")]


def ids_of(documents, tokenizer=WORDS):
    """Each document's ids and EOS, by the library."""
    library = cas.load_tokenizer(tokenizer)
    eos = library.eos_token_id
    return [[*library(one, add_special_tokens=False)["input_ids"], eos] for one in documents]


def rows_of(loader):
    return torch.cat([batch["input_ids"] for batch in loader])


def same(one, other):
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(one, other, strict=True)
    )


# What a batch is


def test_packed_uses_every_token_once_an_epoch_and_pads_only_the_last_row(place):
    train, val = load()
    for loader, split in ((train, "train"), (val, "valid")):
        stream = [number for ids in ids_of(texts(place, split)) for number in ids]
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            assert list(batch) == ["input_ids", "labels", "attention_mask"]
            for tensor in batch.values():
                assert tensor.dtype == torch.int64
                assert tensor.shape[1] == 64
                assert tensor.shape[0] == 8 or batch is batches[-1]
        rows = torch.cat([b["input_ids"] for b in batches])
        labels = torch.cat([b["labels"] for b in batches])
        mask = torch.cat([b["attention_mask"] for b in batches])
        assert torch.equal(labels, torch.where(mask == 1, rows, -100))
        assert (mask == 0).any(dim=1).sum() == (len(stream) % 64 > 0)
        wanted = [stream[at : at + 64] for at in range(0, len(stream), 64)]
        found = [row[real == 1].tolist() for row, real in zip(rows, mask, strict=True)]
        assert sorted(found) == sorted(wanted)
        if loader is val:
            assert found == wanted  # validation is in the order of the text
        else:
            assert found != wanted


def test_padded_gives_one_document_a_row_and_the_real_eos_keeps_its_label(place):
    tokenizer = cas.load_tokenizer(WORDS)
    tokenizer.pad_token = tokenizer.eos_token
    train, val = load(tokenizer=tokenizer, mode="padded", max_length=200)
    for loader, split in ((train, "train"), (val, "valid")):
        wanted = [ids[:200] for ids in ids_of(texts(place, split))]
        found = []
        for batch in loader:
            for ids, labels, mask in zip(*batch.values(), strict=True):
                real = int(mask.sum())
                assert mask.tolist() == [1] * real + [0] * (200 - real)
                assert labels[:real].tolist() == ids[:real].tolist()
                assert (labels[real:] == -100).all()
                assert (ids[real:] == tokenizer.eos_token_id).all()
                found.append(ids[:real].tolist())
        assert sorted(found) == sorted(wanted)
        assert any(row[-1] == tokenizer.eos_token_id for row in found)
        assert any(len(row) == 200 for row in found)


def test_pads_are_the_padding_token_where_there_is_one():
    tokenizer = cas.load_tokenizer(WORDS)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for given in (WORDS, tokenizer):
        batch = next(iter(load(tokenizer=given, mode="padded", max_length=500)[1]))
        assert set(batch["input_ids"][batch["labels"] == -100].tolist()) == {tokenizer.pad_token_id}


def test_shift_gives_the_next_token_of_the_stream(place):
    stream = [number for ids in ids_of(texts(place, "valid")) for number in ids]
    x, y = (torch.cat(parts) for parts in zip(*load(shift=True)[1], strict=True))
    assert x.dtype == y.dtype == torch.int64
    assert x.shape == y.shape == (len(load()[1].dataset), 64)
    assert x.flatten()[: len(stream)].tolist() == stream
    assert y.flatten()[: len(stream)].tolist() == [*stream[1:], -100]
    assert (y.flatten()[len(stream) :] == -100).all()
    _, val = load(shift=True, mode="padded", max_length=30)
    for (x, y), ids in zip(val.dataset, ids_of(texts(place, "valid")), strict=True):
        following = [*ids[1:31], *[-100] * 30][:30]
        assert y.tolist() == following
        assert x.tolist()[: len(ids)] == ids[:30]


@pytest.mark.parametrize("mode", ["packed", "padded"])
def test_position_ids_restart_after_eos_and_at_each_row(mode):
    eos = cas.load_tokenizer(WORDS).eos_token_id
    for batch in load(position_ids=True, mode=mode, max_length=300)[0]:
        assert list(batch) == ["input_ids", "labels", "position_ids"]
        for ids, positions in zip(batch["input_ids"], batch["position_ids"], strict=True):
            expected, place = [], 0
            for number in ids.tolist():
                expected.append(place)
                place = 0 if number == eos else place + 1
            assert positions.tolist() == expected


def test_a_batch_that_is_kept_or_changed_stays_as_it_is_and_changes_no_other():
    rows = load()[0].dataset
    kept = []
    for number in range(60):  # memory is used again
        batch = rows.take(np.arange(number, number + 8))
        if number % 7 == 0:
            kept.append((number, batch))
        else:
            for tensor in batch.values():
                tensor.fill_(-7)
    for number, batch in kept:
        wanted = {key: torch.stack([rows[number + n][key] for n in range(8)]) for key in batch}
        assert same([batch], [wanted])


# The order


def test_the_order_is_a_permutation_and_stays_as_it_is():
    assert Order(10, 0, 0).at(np.arange(10)).tolist() == GOLDEN_ORDER[10]
    many = Order(100_003, 7, 3).at(np.arange(100_003))
    digest = hashlib.sha256(many.astype("<i8").tobytes()).hexdigest()
    assert digest == GOLDEN_ORDER[100_003]
    for count in (1, 2, 3, 31, 32, 33, 1000, 65_536):
        order = Order(count, 1, 2).at(np.arange(count))
        assert sorted(order) == list(range(count))
        part = np.arange(count)[::-3]
        assert (Order(count, 1, 2).at(part) == order[part]).all()


def test_every_order_of_a_few_rows_is_as_likely_as_the_others():
    found: dict[tuple[int, ...], int] = {}
    for seed in range(1200):
        order = tuple(Order(4, seed, 0).at(np.arange(4)).tolist())
        found[order] = found.get(order, 0) + 1
    assert len(found) == 24
    assert sum((count - 50) ** 2 / 50 for count in found.values()) < 60  # 23 expected


def test_each_pass_is_the_next_epoch_and_set_epoch_overrides():
    train, val = load()
    first, second = list(train), list(train)
    assert not same(first, second)
    assert torch.equal(
        *(torch.cat([b["input_ids"] for b in e]).flatten().sort()[0] for e in (first, second))
    )
    train.set_epoch(0)
    assert train.epoch == 0
    assert same(train, first)
    again = load()[0]
    again.set_epoch(1)
    assert same(again, second)
    assert not same(load(seed=1)[0], first)
    assert same(list(val), list(val))


@pytest.mark.parametrize(("mode", "world"), [("packed", 2), ("packed", 3), ("padded", 2)])
def test_the_batches_of_all_ranks_put_together_are_those_of_one_process(mode, world):
    whole = list(load(mode=mode, batch_size=12)[0])
    ranks = [
        load(mode=mode, batch_size=12 // world, rank=rank, world_size=world)[0]
        for rank in range(world)
    ]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for batch, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        together = {key: torch.cat([part[key] for part in parts]) for key in batch}
        assert same([batch], [together])


def test_ranks_that_have_no_row_left_repeat_one_so_that_all_make_as_many_steps():
    rows = len(load()[0].dataset)
    world = next(n for n in range(2, rows) if rows % n == 1)
    last = [list(load(batch_size=1, rank=rank, world_size=world)[0])[-1] for rank in (0, world - 1)]
    assert same(last[:1], last[1:])
    assert last[0]["input_ids"].shape[0] == 1


def test_drop_last_leaves_out_the_short_batch_for_training_only():
    (train, val), (all_train, all_val) = load(batch_size=7, drop_last=True), load(batch_size=7)
    assert len(all_train.dataset) % 7
    assert len(train) == len(all_train) - 1 == len(list(train))
    assert {batch["input_ids"].shape[0] for batch in train} == {7}
    assert len(val) == len(all_val)


# Where a pass is


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_at_the_very_batch(workers):
    whole = load()[0]
    batches = [*whole, *whole]
    for stop in (0, 1, 5, len(whole) - 1, len(whole) + 2):
        train = load(num_workers=workers)[0]
        passed = (batch for _ in range(2) for batch in train)
        for _ in range(stop):
            next(passed)
        state = json.loads(json.dumps(train.state_dict()))
        assert len(json.dumps(state)) < 4096
        train = load(num_workers=workers)[0]
        train.load_state_dict(state)
        assert train.state_dict() == state
        train.set_epoch(state["epoch"])  # as a training loop does: it is the same epoch
        rest = [batch for _ in range(2) for batch in train][: len(batches) - stop]
        assert same(rest, batches[stop : stop + len(rest)])
        assert len(rest) >= len(whole) - 2


def test_a_state_of_a_finished_pass_begins_the_next_one():
    train = load()[0]
    first, state = list(train), train.state_dict()
    assert (state["epoch"], state["row"]) == (1, 0)
    other = load()[0]
    other.load_state_dict(state)
    assert not same(list(other), first)


def test_a_state_goes_on_with_another_number_of_ranks_and_another_batch_size():
    train = load(batch_size=8)[0]
    rows = rows_of(train)
    train.set_epoch(0)
    walk = iter(train)
    for _ in range(3):
        next(walk)
    other = load(batch_size=3)[0]
    other.load_state_dict(train.state_dict())
    assert torch.equal(rows_of(other), rows[24:])


def test_a_state_of_something_else_is_refused():
    state = load()[0].state_dict()
    cases = {
        "dataset": load("plain")[0],
        "max_length": load(max_length=32)[0],
        "mode": load(mode="padded")[0],
        "seed": load(seed=3)[0],
    }
    for what, loader in cases.items():
        with pytest.raises(CasError, match=f"another {what}"):
            loader.load_state_dict(state)
    with pytest.raises(CasError, match="another"):
        load()[1].load_state_dict(state)
    train = load()[0]
    cas.add("tokenizers/other", recipe="bpe", input="own", vocab_size=350)
    with pytest.raises(CasError, match="another tokenizer"):
        load(tokenizer="other")[0].load_state_dict(state)
    for bad in ({}, {**state, "row": -1}, {**state, "epoch": "x"}, {**state, "version": 9}):
        with pytest.raises(CasError, match="expected what state_dict"):
            train.load_state_dict(bad)


# Which documents


def hashes(documents):
    return [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "little") for t in documents]


def documents_in(rows):
    """The documents of padded rows, by their ids."""
    found = []
    for index in range(len(rows)):
        row = rows[index]
        found.append(tuple(row["input_ids"][row["attention_mask"] == 1].tolist()))
    return found


def test_without_a_split_of_its_own_validation_is_chosen_by_hash(place):
    documents = texts(place, "plain")
    ids = [tuple(one) for one in ids_of(documents)]
    train, val = load("plain", mode="padded", max_length=2000)
    threshold = 2**64 // 100
    wanted = [i for i, h in zip(ids, hashes(documents), strict=True) if h <= threshold]
    assert 0 < len(wanted) < 20
    assert documents_in(val.dataset) == wanted
    assert documents_in(train.dataset) == [one for one in ids if one not in wanted]
    _, more = load("plain", mode="padded", max_length=2000, val_fraction=0.2)
    assert set(wanted) < set(documents_in(more.dataset))


def test_validation_has_at_least_one_document_and_never_all(place, tmp_path):
    (tmp_path / "few.txt").write_text(f"one two three\n{stories.SEPARATOR}\nfour five six\n")
    (tmp_path / "alone.txt").write_text("one document, as long as it may be, is for training\n")
    cas.add(tmp_path / "few.txt", name="datasets/few")
    cas.add(tmp_path / "alone.txt", name="datasets/alone")
    train, val = load("few", max_length=4)
    assert train.dataset.documents == val.dataset.documents == 1
    train, val = load("alone", max_length=4)
    assert (train.dataset.documents, len(val), list(val)) == (1, 0, [])


def test_subsets_are_nested_and_only_the_shards_that_are_needed_are_encoded(place):
    found = {}
    for size in (5, 100, 130, 300, 10_000):
        train, _ = load("plain", mode="padded", max_length=700, subset_size=size)
        found[size] = documents_in(train.dataset)
        everything = load("plain", mode="padded", max_length=700)[0]
        assert len(found[size]) == min(size, len(everything.dataset))
    hash_of = dict(zip(map(tuple, ids_of(texts(place, "plain"))), hashes(texts(place, "plain")),
                       strict=True))  # fmt: skip
    lowest, others = ([hash_of.get(one, 0) for one in part]
                      for part in (found[5], set(found[100]) - set(found[5])))  # fmt: skip
    assert max(lowest) < min(others)  # of the first shard, which has 120
    for less, more in zip([*found][:-1], [*found][1:], strict=True):
        assert set(found[less]) < set(found[more])
    _, val = load(mode="padded", subset_size=9, val_subset_size=3)
    assert val.dataset.documents == 3


def test_a_subset_reads_no_more_text_than_it_needs(place, tmp_path, capsys):
    tree = tmp_path / "parts"
    tree.mkdir()
    for number in range(6):
        stories.write_jsonl(tree / f"part-{number}.jsonl", 20, seed=50 + number)
    (tree / "part-9.jsonl").write_text("this is no JSON\n")
    cas.add(tree, name="datasets/parts")
    with pytest.raises(RecipeError, match=r"part-9\.jsonl"):
        load("parts")
    for size in (10, 30):
        train, _ = load("parts", subset_size=size)
        assert train.dataset.documents == size


def test_a_subset_is_the_same_from_whole_shards_as_from_those_made_for_it(place, tmp_path):
    sized = {"mode": "padded", "max_length": 2000, "subset_size": 130}
    before = load("plain", **sized)[0]
    cas.add("tokens/plain_400", input="plain", tokenizer=WORDS)
    whole = load("plain", mode="padded", max_length=2000)[0]
    assert "tokens/plain_400" in whole.assets
    after = load("plain", **sized)[0]
    assert documents_in(after.dataset) == documents_in(before.dataset)
    assert same(after, before)
    named = load("plain_400")[0]
    assert same(named, load("plain")[0])


# Workers, Trainer, accelerate, torch.distributed


@pytest.mark.parametrize("options", [{}, {"shift": True}])
def test_workers_give_the_same_batches(options):
    alone, with_two = load(**options)[0], load(num_workers=2, **options)[0]
    assert len(alone) == len(with_two)
    for one, other in zip(alone, with_two, strict=True):
        if isinstance(one, dict):
            assert same([one], [other])
        else:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_dataset_pickles_small_and_serves_any_other_loader():
    train = load()[0]
    data = pickle.dumps(train.dataset)
    assert len(data) < 4096
    copy = pickle.loads(data)
    assert len(copy) == len(train.dataset)
    plain = torch.utils.data.DataLoader(
        train.dataset,
        batch_size=8,
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )
    rows = torch.cat([batch["input_ids"] for batch in plain])
    assert torch.equal(rows, torch.stack([copy[n]["input_ids"] for n in range(len(copy))]))
    assert torch.equal(copy[-1]["labels"], train.dataset[len(copy) - 1]["labels"])
    with pytest.raises(IndexError):
        train.dataset[len(copy)]


def small_gpt(vocabulary):
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=64, n_embd=64, n_layer=2, n_head=2,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


def trainer(train, val, out, **methods):
    kind = type("Trainer", (transformers.Trainer,), methods)
    arguments = transformers.TrainingArguments(
        output_dir=str(out), max_steps=4, per_device_train_batch_size=8, report_to=[],
        eval_strategy="steps", eval_steps=4, logging_steps=1, save_strategy="no", use_cpu=True,
        disable_tqdm=True, learning_rate=3e-3,
    )  # fmt: skip
    return kind(
        model=small_gpt(400), args=arguments, train_dataset=train.dataset, eval_dataset=val.dataset
    )


def test_a_trainer_takes_the_dataset_or_the_loader_itself(tmp_path):
    train, val = load()
    by_dataset = trainer(train, val, tmp_path / "a")
    by_loader = trainer(train, val, tmp_path / "b", get_train_dataloader=lambda _: train,
                        get_eval_dataloader=lambda *_: val)  # fmt: skip
    for one in (by_dataset, by_loader):
        assert one.train().global_step == 4
        losses = [row["loss"] for row in one.state.log_history if "loss" in row]
        assert losses[-1] < losses[0] < 7
        assert one.evaluate()["eval_loss"] < losses[0]


def test_accelerate_prepares_it_as_it_is():
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    train = load()[0]
    model, optimizer, loader = accelerator.prepare(
        small_gpt(400), torch.optim.AdamW(small_gpt(400).parameters()), train
    )
    assert same(loader, load()[0])
    accelerator.backward(model(**next(iter(loader))).loss)
    optimizer.step()


RANK = """
import os, sys, torch, cas
import torch.distributed as dist
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
train, _ = cas.load_training_data("own", "own_bpe_400", max_length=64, batch_size=4)
torch.save([b["input_ids"].clone() for b in train], f"{sys.argv[2]}.{rank}")
dist.destroy_process_group()
"""


def test_rank_and_world_size_are_those_of_torch_distributed(tmp_path):
    whole = list(load(batch_size=8)[0])
    meet = tmp_path / "meet"
    repository = Path(__file__).resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(repository), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", RANK]
    both = [subprocess.Popen([*command, str(n), str(meet)], env=env) for n in (0, 1)]
    assert [one.wait(180) for one in both] == [0, 0]
    ranks = [torch.load(f"{meet}.{n}") for n in (0, 1)]
    for batch, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        assert torch.equal(batch["input_ids"], torch.cat(parts))


def test_a_small_model_learns_from_it():
    train, _ = load(batch_size=16)
    model = small_gpt(400)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0)
    losses = []
    while len(losses) < 40:
        for batch in train:
            for group in optimizer.param_groups:
                group["lr"] = 6e-3 * min(1, (len(losses) + 1) / 20)
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) == 40:
                break
    assert losses[0] > 5.5
    assert min(losses[-5:]) < losses[0] - 1


# Tokenizers, lineage, names


def trees():
    return {asset.name: asset.tree_id for asset in project.current().read_lock()}


def test_a_tokenizer_is_an_object_a_path_or_a_name_and_is_matched_to_its_asset(place, tmp_path):
    expected = {name: trees()[name] for name in ("datasets/own", WORDS)}
    tokenizer = cas.load_tokenizer(WORDS)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer("one two", padding="max_length", max_length=9, truncation=True)
    tokenizer.save_pretrained(tmp_path / "saved")
    first = load()[0]
    assert first.assets == expected
    for given in ("own_bpe_400", cas.path(WORDS), str(cas.path(WORDS)), tokenizer,
                  tokenizer.backend_tokenizer, tmp_path / "saved"):  # fmt: skip
        train, val = load(tokenizer=given)
        assert train.assets == val.assets == expected
        assert torch.equal(train.dataset[-1]["labels"], first.dataset[-1]["labels"])


def test_a_tokenizer_that_was_read_before_means_the_same_in_the_next_process(tmp_path):
    program = tmp_path / "ids.py"
    program.write_text(
        "import hashlib, sys, cas\n"
        "train, _ = cas.load_training_data('own', sys.argv[1], max_length=64, mode='padded')\n"
        "rows = train.dataset\n"
        "numbers = b''.join(t.numpy().tobytes() for row in rows for t in row.values())\n"
        "print(rows._eos, rows._pad, hashlib.sha256(numbers).hexdigest())\n"
    )
    other = tmp_path / "other"  # the same tokenizer.json, with another file beside it
    other.mkdir()
    (other / "tokenizer.json").write_bytes((cas.path(WORDS) / "tokenizer.json").read_bytes())
    (other / "tokenizer_config.json").write_text('{"eos_token": "<|pad|>"}')
    said = {
        given: [
            subprocess.run([sys.executable, program, given], capture_output=True, check=True).stdout
            for _ in range(2)
        ]
        for given in (WORDS, str(other))
    }
    assert all(first == again for first, again in said.values())
    assert [first.split()[0] for first, _ in said.values()] == [b"0", b"1"]


def test_shards_that_are_there_are_mapped_without_an_index_or_what_makes_them(tmp_path):
    loader, _ = load()
    program = tmp_path / "first.py"
    program.write_text(
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import cas\n"
        f"train, _ = cas.load_training_data('own', {WORDS!r}, max_length=64, batch_size=8)\n"
        "print(next(iter(train))['input_ids'].sum().item(), *(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(done[0]) == next(iter(loader))["input_ids"].sum()
    for heavy in ("sqlite3", "tokenizers", "cas.store.gc", "cas.shards.build", "cas.recipes.bpe"):
        assert heavy not in done[1:]


def test_a_tokenizer_that_is_not_locked_is_recorded_as_unlocked(tmp_path, capsys):
    tokenizer = cas.load_tokenizer(WORDS)
    tokenizer.add_tokens(["wooden"])
    train, _ = load(tokenizer=tokenizer)
    said = capsys.readouterr().err
    assert "unlocked" in said
    assert train.assets.keys() == {"datasets/own", "tokenizers/unlocked"}
    assert set(rows_of(train).unique().tolist()) > {len(tokenizer) - 1}
    row = cas.save_experiment("unlocked", {"loss": 1.0})
    used = cas.query_experiments(USED, params=["unlocked"])
    assert row.exists()
    named = dict(zip(used["name"], used["tree"], strict=True))
    assert named["tokenizers/unlocked"] == train.assets["tokenizers/unlocked"]
    digest = named["tokenizers/unlocked"].removeprefix("t1:")
    kept = Path(os.environ["CAS_STORE"], "trees", digest[:2], digest[2:], "tokenizer.json")
    assert json.loads(kept.read_text())["model"]["type"] == "BPE"


def test_what_is_loaded_is_an_input_of_the_next_record():
    train, _ = load()
    cas.save_experiment("trained", {"loss": 1.0})
    used = cas.query_experiments(USED, params=["trained"])
    inputs = {name: tree for name, tree, role in used.itertuples(index=False) if role == "input"}
    assert train.assets.items() <= inputs.items()


# What can't be taken


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_length": 0}, "max_length: expected a whole number of at least 1, found 0"),
        ({"max_length": -3}, "found -3"),
        ({"max_length": 1 << 30}, "max_length: expected at most"),
        ({"max_length": 12_000}, "the tokens of the split 'validation'"),
        ({"max_length": 12.5}, "found 12.5"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1"),
        ({"subset_size": 0}, "subset_size"),
        ({"mode": "pack"}, "near: 'packed'"),
        ({"mode": "x"}, "expected 'packed' or 'padded'"),
        ({"rank": 2, "world_size": 2}, "0 <= rank < world_size"),
        ({"rank": 0}, "both or neither"),
        ({"num_workers": -1}, "num_workers"),
        ({"seed": -1}, "seed"),
        ({"val_fraction": 1}, "val_fraction"),
        ({"val_fraction": "a tenth"}, "val_fraction: expected 0 to below 1, found 'a tenth'"),
        ({"position_ids": True, "shift": True}, "position_ids"),
        ({"batch_size": 10**12}, "batch_size: expected at most 33554432, found 1000000000000"),
        ({"executor": 3}, "executor: expected a concurrent.futures.Executor, found 'int'"),
        ({"batch_size": 100_000, "drop_last": True}, "drop_last leaves no batch"),
    ],
)
def test_an_argument_that_cant_be_taken_is_named_with_a_way_out(options, says):
    with pytest.raises(UsageError) as caught:
        load(**options)
    assert says in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint or "val_fraction" in options


def test_what_is_not_there_is_named_with_the_near_ones(place, tmp_path):
    with pytest.raises(UnknownAsset, match="plain"):
        load("plian")
    with pytest.raises(UnknownAsset, match="tinystories") as caught:
        load("tinystorie")
    with pytest.raises(UnknownAsset, match="roneneldan/TinyStories") as caught:
        load("tinystories")
    assert "cas add roneneldan/TinyStories" in caught.value.hint
    with pytest.raises(UnknownAsset, match="own_bpe_400"):
        load(tokenizer="own_bpe_40")
    with pytest.raises(UsageError, match="nothing is at"):
        load(tokenizer="./nowhere")
    with pytest.raises(RecipeError, match=r"tokenizer\.json"):
        load(tokenizer=tmp_path)
    with pytest.raises(UsageError, match="found int"):
        load(tokenizer=7)
    with pytest.raises(UsageError, match="dataset_name: expected the name of an asset, found P"):
        load(tmp_path)


def test_a_tokenizer_without_eos_and_a_slow_one_are_refused(tmp_path):
    table = json.loads((cas.path(WORDS) / "tokenizer.json").read_bytes())
    table["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    bare = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for given in (bare, tmp_path / "tokenizer.json"):
        with pytest.raises(RecipeError, match="no token ends a document") as caught:
            load(tokenizer=given)
        assert "eos_token" in caught.value.hint
    with pytest.raises(UsageError, match="expected a fast one") as caught:
        load(tokenizer=transformers.ByT5Tokenizer())
    assert "use_fast" in caught.value.hint


def test_a_dataset_that_is_not_pulled_says_how_to_get_it(place, tmp_path):
    (tmp_path / "gone.txt").write_text("one two three\n" * 50)
    cas.add(tmp_path / "gone.txt", name="datasets/gone")
    digest = trees()["datasets/gone"].removeprefix("t1:")
    tree = Path(os.environ["CAS_STORE"], "trees", digest[:2], digest[2:])
    tree.with_name(f"{tree.name}.away").unlink(missing_ok=True)
    tree.rename(tree.with_name(".cas-away"))
    try:
        with pytest.raises(NotPulled) as caught:
            load("gone")
        assert "cas" in caught.value.hint
    finally:
        tree.with_name(".cas-away").rename(tree)


def test_a_column_that_is_not_there_names_those_that_are(place):
    with pytest.raises(RecipeError, match="text"):
        load("plain", column="story")

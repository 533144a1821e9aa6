"""The walk: which text, which tokenizers, one count, figures of each."""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import recipes, registry
from cas.analysis.choice import Choice, added_tokens, chosen, defaults, read_tokenizer
from cas.analysis.counting import Batch, Counted, Counts, count, encode, pattern_of
from cas.analysis.figures import Lengths, coverage, rare, unused
from cas.analysis.training import check_sizes, train
from cas.analysis.words import by_size
from cas.crew import Crew, cores
from cas.errors import RecipeError, typed
from cas.progress import QUIET

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    import numpy as np
    import numpy.typing as npt

    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project
    from cas.recipes import BpeRecipe

    Numbers = npt.NDArray[np.int64]

__all__ = ["Analysis", "Figures", "analyse"]

_BATCH = 4 << 20  # characters; at this size a worker holds some 200 MB
_ALONE = 8 << 20  # bytes of files; less is counted here, before workers would have started


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one tokenizer makes of the text."""

    name: str
    tree: str | None
    """``t1:…`` of an asset."""
    trained: bool
    """Trained here, for ``--sizes``."""
    vocab_size: int
    uses: Numbers
    """Of each id."""
    lengths: Lengths
    one_token: int
    """Words, by occurrence, that are one token."""

    @property
    def tokens(self) -> int:
        """Tokens in all, without EOS."""
        return int(self.uses.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A dataset's text, and what each tokenizer makes of it."""

    dataset: str
    tree: str
    split: str
    files: tuple[str, ...]
    documents: int
    bytes: int
    characters: int
    words: int
    tokenizers: tuple[Figures, ...]

    def json(self) -> dict[str, Any]:
        """Return what ``cas tokens --json`` prints."""
        return {
            "dataset": self.dataset,
            "tree": self.tree,
            "documents": self.documents,
            "bytes": self.bytes,
            "characters": self.characters,
            "words": self.words,
            "tokenizers": [self._row(figures) for figures in self.tokenizers],
        }

    def _row(self, figures: Figures) -> dict[str, Any]:
        tokens, lengths = figures.tokens, figures.lengths
        sizes = lengths.candidates()
        shares = zip(sizes, lengths.padding(sizes), lengths.truncated(sizes), strict=True)
        return {
            "tokenizer": figures.name,
            "vocab_size": figures.vocab_size,
            "tokens": tokens,
            "bytes_per_token": self.bytes / tokens if tokens else None,
            "tokens_per_word": tokens / self.words,
            "one_token_words": figures.one_token / self.words,
            "unused": unused(figures.uses, figures.vocab_size),
            "rare": rare(figures.uses),
            "coverage": coverage(figures.uses),
            "lengths": lengths.quantiles(),
            "max_lengths": [
                {"max_length": int(size), "padding": float(pads), "truncated": float(cut)}
                for size, pads, cut in shares
            ],
            "suggested_max_length": lengths.suggested(),
        }


def analyse(
    project: Project,
    name: str,
    tokenizers: Sequence[str | os.PathLike[str]] = (),
    sizes: Sequence[int] = (),
    *,
    split: str = "train",
    column: str | None = None,
    progress: Progress = QUIET,
) -> Analysis:
    """Count the text of the dataset *name* once, and say what each tokenizer makes of it.

    *tokenizers* are names of assets or paths to a tokenizer.json; without any, gpt2's where it
    is locked, else those made of this dataset. *sizes* are vocabulary sizes of byte-level BPE
    that is trained on the text, as the recipe ``bpe`` does.

    Raises:
        UsageError: a tokenizer or size twice, or a size that can't be trained.
        UnknownAsset, NotPulled: a dataset or tokenizer that isn't there.
        RecipeError: no tokenizer, no text, or a file that can't be read.
    """
    wanted = check_sizes(sizes)
    dataset = project.read_lock().find(name, kind="datasets")
    choices = chosen(project, tokenizers) if tokenizers else defaults(project, dataset)
    if not choices and not sizes:
        message = f"no tokenizer for {dataset.name!r}: gpt2 is not locked, and none is made of it"
        hint = f"--tokenizer NAME, or --sizes 4096, or: cas add {typed(_own(dataset.name))}"
        raise RecipeError(message, hint=hint)
    text = _text_of(project, dataset, split, column)
    with tempfile.TemporaryDirectory(prefix="cas-tokens-") as scratch:
        counts = _count(text, choices, wanted, Path(scratch), progress)
        words = counts.words
        counted = [
            _figures(counts, words, choice, place)
            for choice, place in zip(choices, _places(choices), strict=True)
        ]
        trained = _trained(counts, words, wanted, progress)
        counted += [_figures(counts, words, choice, None) for choice in trained]
    return Analysis(
        dataset=dataset.name,
        tree=dataset.tree_id,
        split=split,
        files=tuple(text.files),
        documents=counts.documents,
        bytes=counts.bytes,
        characters=counts.characters,
        words=int(counts.of_words("uses").sum()),
        tokenizers=tuple(counted),
    )


def _own(dataset: str) -> str:
    return f"tokenizers/{dataset.rpartition('/')[2].lower()}_bpe_4096"


# The text --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The files of a dataset that are read."""

    name: str
    tree: Path
    files: list[str]
    column: str | None

    @property
    def size(self) -> int:
        return sum((self.tree / name).stat().st_size for name in self.files)

    def documents(self, progress: Progress) -> Iterator[str]:
        for name in self.files:
            before = 0

            def moved(position: int) -> None:
                nonlocal before
                progress.advance(position - before)
                before = position

            yield from recipes.documents(self.tree / name, self.column, name=name, moved=moved)
            progress.advance(0, files=1)


def _text_of(project: Project, dataset: Asset, split: str, column: str | None) -> _Text:
    place = Path(project.path(dataset.name))
    tree = place.parent if dataset.file else place
    paths = [path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()]
    known: Mapping[str, Any] = registry.defaults(project, dataset.name, dataset, paths)
    try:
        files = recipes.select(paths, split=split, patterns=known.get("files", ()))
    except RecipeError as error:
        raise RecipeError(f"{dataset.name}: {error}", hint="--split all") from None
    column = column or known.get("column")
    return _Text(name=dataset.name, tree=tree, files=files, column=column)


# Counting --------------------------------------------------------------------------------


def _count(
    text: _Text,
    choices: Sequence[Choice],
    wanted: Mapping[int, BpeRecipe],
    scratch: Path,
    progress: Progress,
) -> Counts:
    """Count all batches, beside one another where there are enough."""
    whole: list[str] = []
    exact: list[str] = []
    for number, choice in enumerate(choices):
        place = scratch / f"{number}.json"
        place.write_text(choice.text, encoding="utf-8")
        (exact if choice.exact else whole).append(str(place))
    special = {token for recipe in wanted.values() for token in recipe.special}
    added = pattern_of(added_tokens(c for c in choices if c.exact) | special)
    counts = Counts(scratch)
    size = text.size
    progress.begin(f"count words of {text.name}", files=len(text.files), size=size)
    try:
        batches = (
            Batch(
                number=number,
                texts=texts,
                scratch=str(scratch),
                added=added,
                whole=tuple(whole),
                exact=tuple(exact),
                keep=bool(wanted),
                special=pattern_of(special),
            )
            for number, texts in enumerate(by_size(text.documents(progress), _BATCH))
        )
        for counted in _counted(batches, 1 if size < _ALONE else cores()):
            counts.add(counted)
    except RecipeError as error:
        raise RecipeError(f"{text.name}: {error}", hint=error.hint) from None
    finally:
        progress.end()
    if not counts.documents:
        message = f"{text.name}: expected documents, found none in {recipes.name_files(text.files)}"
        raise RecipeError(message, hint="--split all, or --column NAME")
    return counts


def _counted(batches: Iterator[Batch], processes: int) -> Iterator[Counted]:
    """Yield what each batch holds, in their order, counted by so many processes."""
    if processes < 2:
        yield from map(count, batches)
        return
    waiting: deque[Future[Counted]] = deque()
    with Crew(processes) as crew:
        for batch in batches:
            waiting.append(crew.submit(count, batch))
            if len(waiting) > 2 * processes:  # no more text in memory than that
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _trained(
    counts: Counts, words: Sequence[str], wanted: Mapping[int, BpeRecipe], progress: Progress
) -> Iterator[Choice]:
    """Yield a tokenizer of each size, in the order asked for, from one training."""
    if not wanted:
        return
    progress.begin(f"train {max(wanted)} tokens")
    learnt = zip(words, map(int, counts.of_words("learnt")), strict=True)
    for size, made in train({word: uses for word, uses in learnt if uses}, wanted):
        choice = read_tokenizer(f"bpe_{size}", made)
        if choice.vocab_size < size:
            progress.note(f"the text fills {choice.vocab_size} of the {size} tokens of bpe_{size}")
        yield choice
    progress.end()


# Figures ---------------------------------------------------------------------------------


def _places(choices: Sequence[Choice]) -> list[int]:
    """Return where each tokenizer's documents are in ``Counted.encoded``."""
    whole = [n for n, choice in enumerate(choices) if not choice.exact]
    order = whole + [n for n, choice in enumerate(choices) if choice.exact]
    return [order.index(n) for n in range(len(choices))]


def _figures(counts: Counts, words: Sequence[str], choice: Choice, place: int | None) -> Figures:
    """Put together what words say and what was encoded; *place* is None for one trained here."""
    import numpy as np

    ids = _Ids.of(choice, words)
    lengths = _Histogram()
    highest = max(choice.vocab_size, int(ids.flat.max(initial=-1)) + 1)
    uses = np.zeros(highest, np.int64)
    if choice.exact:
        weights = np.repeat(counts.of_words("plain"), ids.tokens)
        np.add.at(uses, ids.flat, weights)
        for found in counts.plain_lengths(ids.tokens):
            lengths.add(found)
    if place is None:
        encoded = [encode(choice.tokenizer, texts) for texts in counts.odd_texts()]
    else:
        encoded = [batch[place] for batch in counts.encoded]
    for one in encoded:
        if len(one.ids) and one.ids[-1] >= len(uses):
            uses = np.pad(uses, (0, int(one.ids[-1]) + 1 - len(uses)))
        uses[one.ids] += one.uses
        lengths.add(one.lengths)
    return Figures(
        name=choice.name,
        tree=choice.tree,
        trained=place is None,
        vocab_size=choice.vocab_size,
        uses=uses,
        lengths=lengths.lengths(),
        one_token=int(counts.of_words("uses")[ids.tokens == 1].sum()),
    )


@dataclass(frozen=True, slots=True)
class _Ids:
    """Every distinct word, encoded."""

    flat: Numbers
    tokens: Numbers
    """Of each word."""

    @classmethod
    def of(cls, choice: Choice, words: Sequence[str]) -> _Ids:
        import numpy as np

        flat: list[int] = []
        tokens = []
        for start in range(0, len(words), 1 << 16):
            some = list(words[start : start + (1 << 16)])
            for one in choice.tokenizer.encode_batch_fast(some, add_special_tokens=False):
                ids = one.ids
                flat += ids
                tokens.append(len(ids))
        return cls(np.array(flat, np.int64), np.array(tokens, np.int64))


class _Histogram:
    """Lengths of documents, counted as they come."""

    def __init__(self) -> None:
        self._documents: dict[int, int] = {}

    def add(self, tokens: Numbers) -> None:
        import numpy as np

        for length, documents in zip(*np.unique(tokens, return_counts=True), strict=True):
            known = self._documents.get(int(length), 0)
            self._documents[int(length)] = known + int(documents)

    def lengths(self) -> Lengths:
        """Return them with EOS, one token more each."""
        import numpy as np

        found = sorted(self._documents.items())
        return Lengths(
            np.array([length + 1 for length, _ in found], np.int64),
            np.array([documents for _, documents in found], np.int64),
        )

"""An analysis as Parquet: one row a tokenizer, with trees, so that it joins with experiments.

``dataset_tree`` and ``tokenizer_tree`` are tree ids as ``experiment_assets.tree`` has them; a
tokenizer that is no asset has none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas.analysis.analyse import Analysis

__all__ = ["parquet"]


def parquet(analysis: Analysis) -> bytes:
    """Return the bytes of the Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    report = analysis.json()
    of_text = {key: report[key] for key in ("documents", "bytes", "characters", "words")}
    rows = []
    for row, figures in zip(report["tokenizers"], analysis.tokenizers, strict=True):
        covered, lengths = row.pop("coverage"), row.pop("lengths")
        rows.append(
            {
                "dataset": analysis.dataset,
                "dataset_tree": analysis.tree,
                "split": analysis.split,
                **of_text,
                "tokenizer": row.pop("tokenizer"),
                "tokenizer_tree": figures.tree,
                **{k: v for k, v in row.items() if k != "max_lengths"},
                **{f"coverage_{k[2:].ljust(2, '0')}": v for k, v in covered.items()},
                **{f"length_{k}": v for k, v in lengths.items()},
                "max_lengths": row["max_lengths"],
            }
        )
    tried = pa.struct([("max_length", pa.int64()), ("padding", pa.float64()),
                       ("truncated", pa.float64())])  # fmt: skip
    texts = ("dataset", "dataset_tree", "split", "tokenizer", "tokenizer_tree")
    shares = ("bytes_per_token", "tokens_per_word", "one_token_words")
    kinds = {
        **dict.fromkeys(rows[0], pa.int64()),
        **dict.fromkeys(texts, pa.string()),
        **dict.fromkeys(shares, pa.float64()),
        "max_lengths": pa.list_(tried),
    }
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), out)
    return out.getvalue()

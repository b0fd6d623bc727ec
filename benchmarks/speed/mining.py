"""Hard-negative mining beside sentence-transformers: encoding included, and with the embeddings given.

Both read the same rows and corpus with the same limits. "Given" means that each reads the cache folder that its own
run in float32 wrote.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.speed.encoding import DEFAULT_BATCH_SIZE, best_dtype
from benchmarks.speed.measure import Job, Row, Side

WARM_UP = 1
SETTINGS: dict[str, Any] = {"relative_margin": 0.05, "num_negatives": 5}


def compare(
    model: str,
    rows: Sequence[tuple[str, str]],
    corpus: Sequence[str],
    *,
    device: str,
    repeats: int,
    threads: int | None,
) -> list[Row]:
    """Time both: with ours as it comes, float32 against float32, and with embeddings given."""
    fast = best_dtype(device)
    encoding = {
        "ours": (ours, "auto"),
        "ours32": (ours, "float32"),
        "theirs": (theirs, "float32"),
        "theirs best": (theirs, fast),
    }
    given = {"ours32 given": (ours, "float32"), "theirs given": (theirs, "float32")}
    measured: dict[str, tuple[float, set[Any], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group in (encoding, given):
            with ExitStack() as stack:
                sides = {
                    name: stack.enter_context(
                        Side(make, model, list(rows), list(corpus), dtype, device, threads=threads)
                    )
                    for name, (make, dtype) in group.items()
                }
                # With the embeddings given a run is short: the first, which imports what it needs, does not count.
                for number in range(repeats if group is encoding else repeats + WARM_UP):
                    for name, side in sides.items():
                        cache = f"{name} {number}" if group is encoding else f"{name.removesuffix(' given')} 0"
                        side.run(str(Path(folder) / cache))
                for name, side in sides.items():
                    if group is given:
                        del side.seconds[:WARM_UP]
                    found, peak = side.finish()
                    measured[name] = (side.median, found, peak)
    reference = measured["theirs"][1]
    result: list[Row] = []
    for setting, mine, other, detail in (
        ("default", "ours", "theirs", f"theirs float32, batches of {DEFAULT_BATCH_SIZE}"),
        ("best", "ours", "theirs best", f"theirs {fast}, batches of {DEFAULT_BATCH_SIZE}"),
        ("float32", "ours32", "theirs", "float32 on both sides"),
        ("embeddings given", "ours32 given", "theirs given", "float32 embeddings on both sides"),
    ):
        rows_found = measured[mine][1]
        result.append(
            {
                "task": "mine",
                "peer": "sentence-transformers",
                "setting": setting,
                "ratio": measured[other][0] / measured[mine][0],
                "agreement": len(rows_found & reference) / max(1, len(rows_found | reference)),
                "ours_s": measured[mine][0],
                "theirs_s": measured[other][0],
                "ours_peak_mb": measured[mine][2],
                "theirs_peak_mb": measured[other][2],
                "detail": f"{len(rows):,} rows, {len(corpus):,} documents; {detail}; agreement: rows in common of all",
            }
        )
    return result


def ours(model: str, rows: list[Any], corpus: list[str], dtype: str, device: str) -> Job:
    """Load our encoder; what it mines with takes the cache folder."""
    from pipelines.mining.dense import mine_hard_negatives
    from retrieve.encoders import DenseEncoder

    encoder, data = DenseEncoder(model, dtype=dtype, device=device), _dataset(rows)

    def run(cache: str) -> Any:
        return mine_hard_negatives(data, encoder, corpus=corpus, cache_folder=cache, verbose=False, **SETTINGS)

    return run, _rows


def theirs(model: str, rows: list[Any], corpus: list[str], dtype: str, device: str) -> Job:
    """Load their encoder; what it mines with takes the cache folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder, data = SentenceTransformer(model, device=device, model_kwargs={"dtype": dtype}), _dataset(rows)

    def run(cache: str) -> Any:
        return mine_hard_negatives(data, encoder, corpus=corpus, cache_folder=cache, verbose=False, **SETTINGS)

    return run, _rows


def _dataset(rows: list[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"anchor": [query for query, _ in rows], "positive": [text for _, text in rows]})


def _rows(dataset: Any) -> set[Any]:
    return set(zip(dataset["anchor"], dataset["positive"], dataset["negative"], strict=True))

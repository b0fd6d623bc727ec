"""Time hard-negative mining beside sentence-transformers, with encoding and with precomputed embeddings.

Both sides mine the same rows and corpus with the same limits. With precomputed embeddings both models look up the same
vectors.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.encoding import DEFAULT_BATCH_SIZE, best_dtype
from benchmarks.speed.measure import Job, Row, measure, measured_row
from retrieve.encoders.modules.transformer import quiet

SETTINGS = ("default", "best", "float32", "given")
OPTIONS: dict[str, Any] = {"relative_margin": 0.05, "num_negatives": 5}
QUERIES, CORPUS = "queries.npy", "corpus.npy"


def compare(
    model: str,
    rows: Sequence[tuple[str, str]],
    corpus: Sequence[str],
    *,
    settings: Sequence[str],
    device: str,
    repeats: int,
    threads: int | None,
) -> list[Row]:
    """Time both in the given `SETTINGS`: default, their best number format, float32 on both, embeddings given."""
    fast = best_dtype(device)
    sides_of = {
        "default": ("ours", "theirs", f"theirs float32, batches of {DEFAULT_BATCH_SIZE}"),
        "best": ("ours", "theirs best", f"theirs {fast}, batches of {DEFAULT_BATCH_SIZE}"),
        "float32": ("ours float32", "theirs", "float32 on both sides"),
        "given": ("ours given", "theirs given", "the same embeddings, float32, given to both"),
    }
    with tempfile.TemporaryDirectory() as folder:
        if "given" in settings:
            measure([(encoded, model, list(rows), list(corpus), device, folder)], 1, threads)
        kinds = {
            "ours": (ours, "auto", None),
            "ours float32": (ours, "float32", None),
            "theirs": (theirs, "float32", None),
            "theirs best": (theirs, fast, None),
            "ours given": (ours, "float32", folder),
            "theirs given": (theirs, "float32", folder),
        }
        wanted = dict.fromkeys(name for setting in settings for name in sides_of[setting][:2])
        jobs = {
            name: (make, model, list(rows), list(corpus), dtype, device, given)
            for name, (make, dtype, given) in kinds.items()
            if name in wanted
        }
        measured = dict(zip(jobs, measure(jobs.values(), repeats, threads), strict=True))
    result: list[Row] = []
    for setting in settings:
        mine, other, detail = sides_of[setting]
        # Agreement is with theirs in float32.
        reference = "theirs" if setting == "best" and "theirs" in wanted else other
        mined, expected = measured[mine].result, measured[reference].result
        agreement = len(mined & expected) / max(1, len(mined | expected))
        detail = f"{len(rows):,} rows, {len(corpus):,} documents; {detail}; agreement: rows in common of all"
        result.append(measured_row("mine", setting, measured[mine], measured[other], agreement, detail))
    return result


def encoded(model: str, rows: list[Any], corpus: list[str], device: str, folder: str) -> Job:
    """Encode queries and corpus, and save the vectors for both sides."""
    from retrieve.encoders import DenseEncoder

    encoder = DenseEncoder(model, device=device)

    def run() -> None:
        queries, texts = _texts(rows, corpus)
        np.save(Path(folder) / QUERIES, encoder.encode_query(queries, normalize=True))
        np.save(Path(folder) / CORPUS, encoder.encode_document(texts, normalize=True))

    return run, lambda nothing: nothing


def ours(model: str, rows: list[Any], corpus: list[str], dtype: str, device: str, given: str | None) -> Job:
    """Load our encoder; with a folder `given` it looks up the saved vectors there."""
    from pipelines.mining.mine_hard_negatives import mine_hard_negatives
    from retrieve.encoders import DenseEncoder

    encoder: Any = DenseEncoder(model, dtype=dtype, device=device)
    return _job(mine_hard_negatives, encoder, rows, corpus, given)


def theirs(model: str, rows: list[Any], corpus: list[str], dtype: str, device: str, given: str | None) -> Job:
    """Load their encoder; with a folder `given` it looks up the saved vectors there."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    with quiet():
        encoder = SentenceTransformer(model, device=device, model_kwargs={"dtype": dtype})
    return _job(mine_hard_negatives, encoder, rows, corpus, given)


def _job(mine: Callable[..., Any], encoder: Any, rows: list[Any], corpus: list[str], given: str | None) -> Job:
    data = _dataset(rows)

    def run() -> Any:
        return mine(data, encoder, corpus=corpus, verbose=False, **OPTIONS)

    if given is not None:
        queries, texts = _texts(rows, corpus)
        encoder.encode_query = _look_up(queries, Path(given) / QUERIES)
        encoder.encode_document = _look_up(texts, Path(given) / CORPUS)
        run()  # Runs without encoding are short, so the first, which imports modules, must not count.
    return run, _rows


def _look_up(texts: list[str], path: Path) -> Callable[..., NDArray[np.float32]]:
    vectors: NDArray[np.float32] = np.load(path)
    places = {text: place for place, text in enumerate(texts)}
    return lambda texts, **options: vectors[[places[text] for text in texts]]


def _texts(rows: list[Any], corpus: list[str]) -> tuple[list[str], list[str]]:
    queries, positives = zip(*rows, strict=True)
    return list(dict.fromkeys(queries)), list(dict.fromkeys([*corpus, *positives]))


def _dataset(rows: list[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"anchor": [query for query, _ in rows], "positive": [text for _, text in rows]})


def _rows(dataset: Any) -> set[Any]:
    return set(zip(dataset["anchor"], dataset["positive"], dataset["negative"], strict=True))

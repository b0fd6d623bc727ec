"""`mine_hard_negatives`: mining with an encoder, with the arguments and rules of sentence-transformers 6.2."""

import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.inputs import require_positive, whole_number
from indexing.plurals import counted
from indexing.progress import progress
from pipelines.mining.candidates import QUERIES_AT_ONCE, Candidates, nearest
from pipelines.mining.filtering import Counts, Limits, Sampling, chosen, filtered
from pipelines.mining.formatting import Format, Texts, formatted
from pipelines.mining.positives import Positives, numbered
from pipelines.mining.rescoring import PairScorer, cross_scores
from retrieve.encoders.kernels.memory import release_freed_memory
from retrieve.protocols import similarity_name

if TYPE_CHECKING:
    from datasets import Dataset

    from retrieve.encoders import DenseEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MiningReport:
    """Statistics of the scores, and the candidates excluded by each limit."""

    rows: int
    possible: int
    positive: NDArray[np.float32]
    negative: NDArray[np.float32]
    counts: Counts

    def __str__(self) -> str:
        lines = [counted(self.rows, "row"), f"{'':8}{'positive':>10}{'negative':>10}"]
        for name, function in _STATISTICS.items():
            values = [
                f"{function(scores):10.4f}" if len(scores) else f"{'-':>10}"
                for scores in (self.positive, self.negative)
            ]
            lines.append(f"{name:8}{''.join(values)}")
        for limit, skipped in self.counts.skipped.items():
            lines.append(f"{limit} excluded {skipped:,} of {counted(self.counts.candidates, 'candidate')}")
        if self.rows < self.possible:
            missing = f"{self.possible - self.rows:,} of {counted(self.possible, 'row')}"
            lines.append(f"{missing} lack negatives: raise range_max or loosen the limits")
        return "\n".join(lines)


def mine_hard_negatives(
    dataset: "Dataset",
    model: "DenseEncoder",
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | None = None,
    cross_encoder: PairScorer | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Sampling = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: Format = "triplet",
    output_scores: bool = False,
    *,
    seed: int | None = None,
    cache_folder: str | Path | None = None,
    verbose: bool = True,
) -> "Dataset":
    """Find hard negatives: documents that an encoder ranks high and that are not positives of the query.

    Parameters
    ----------
    dataset
        (anchor, positive) rows; an anchor on several rows has several positives.
    model
        Encodes queries and documents; its similarity of normalized vectors is the score.
    anchor_column_name, positive_column_name
        Names of the columns (the first and the second).
    corpus
        Documents to mine in addition to all positives; by default the positives alone.
    cross_encoder
        Rescores candidates and positives, if there is a limit on scores.
    range_min, range_max, max_score, min_score, absolute_margin, relative_margin
        See `Limits`. `range_max` is by default `range_min` + `num_negatives` + the largest number of positives of a
        query, with ten times the negatives if there is a limit on scores.
    num_negatives, sampling_strategy, seed
        Number of negatives of each query, and how they are sampled after filtering: the best ("top") or random ones
        ("random", drawn from `seed`).
    query_prompt, query_prompt_name, corpus_prompt, corpus_prompt_name
        Prompts that replace those of the checkpoint for queries and documents.
    include_positives
        Keep positives among the candidates, to see the encoder's own ranking. Sets `output_format` to "n-tuple".
    output_format, output_scores
        See `formatted`.
    cache_folder
        Folder that caches vectors, under a hash of the encoder's identity, prompt and texts.
    verbose
        Show progress bars and log a summary.

    Returns
    -------
    Dataset
        The columns of `output_format`, with the dataset's own names for anchors and positives.

    Raises
    ------
    InputError
        For an empty dataset, one with fewer than two columns, a value that is not text, or limits that leave no
        candidates.
    """
    import pyarrow as pa
    from datasets import Dataset

    pa.default_memory_pool().release_unused()  # Memory of previously mined rows.
    anchor, positive = _columns(dataset, anchor_column_name, positive_column_name)
    if include_positives and output_format != "n-tuple":
        logger.warning("include_positives works only with output_format='n-tuple', which is used instead")
        output_format = "n-tuple"
    queries, query_codes = numbered(_texts(dataset, anchor))
    positive_texts = _texts(dataset, positive)
    documents, codes = numbered([*(corpus or []), *positive_texts])
    positives = Positives.of(query_codes, codes[len(codes) - len(positive_texts) :], len(queries))
    del positive_texts  # Frees repeated texts: `documents` holds the distinct ones.
    limited = any(value is not None for value in (absolute_margin, relative_margin, max_score))
    most = int(np.bincount(query_codes).max())
    whole_number(num_negatives, "num_negatives")
    whole_number(range_min, "range_min", least=0)
    if range_max is None:
        is_wide = limited or (cross_encoder is not None and min_score is not None)
        range_max = range_min + num_negatives * (10 if is_wide else 1) + most
    limits = Limits(range_min, range_max, absolute_margin, relative_margin, max_score, min_score)
    _check(limits, num_negatives)
    encode = _CachingEncoder(model, cache_folder, show_progress=verbose)
    corpus_vectors = encode("document", documents, corpus_prompt, corpus_prompt_name)
    query_vectors = encode("query", queries, query_prompt, query_prompt_name)

    rescore = cross_encoder if limited or min_score is not None else None
    counts, draw = Counts(), random.Random(seed)
    mined: list[tuple[int, Positives, NDArray[np.float32], Candidates]] = []
    blocks = nearest(query_vectors, corpus_vectors, limits.range_max + most, metric=similarity_name(model))
    for first, candidates in zip(_block_starts(len(queries), verbose), blocks, strict=True):
        own = positives.of_queries(first, first + len(candidates.documents))
        if rescore is None:
            scores = _similarity(
                query_vectors[own.queries + first], corpus_vectors[own.documents], similarity_name(model)
            )
        else:
            candidates, scores = _rescored(rescore, candidates, own, first, queries, documents)
        candidates = filtered(candidates, own, scores, limits, counts, include_positives=include_positives)
        mined.append((first, own, scores, chosen(candidates, num_negatives, sampling_strategy, draw)))
    del blocks, corpus_vectors, query_vectors  # Formatting needs the memory of the search.
    release_freed_memory()
    query_texts, corpus_texts = Texts(queries), Texts(documents)
    tables = [
        formatted(
            output_format,
            query_texts,
            corpus_texts,
            first,
            own,
            scores,
            negatives,
            scores=output_scores,
            anchor=anchor,
            positive=positive,
        )
        for first, own, scores, negatives in mined
    ]
    result = _dataset(Dataset, tables)
    if verbose:
        possible = {
            "triplet": len(positives.documents) * num_negatives,
            "labeled-pair": len(positives.documents) + len(queries) * num_negatives,
        }
        report = MiningReport(
            len(result),
            possible.get(output_format, len(positives.documents)),
            np.concatenate([scores for _, _, scores, _ in mined]),
            np.concatenate([negatives.scores[np.isfinite(negatives.scores)] for *_, negatives in mined]),
            counts,
        )
        logger.info("%s", report)
    return result


class _CachingEncoder:
    """Encoder of lists of texts that with a cache folder stores the vectors of each list in a file."""

    def __init__(self, model: Any, cache_folder: str | Path | None, *, show_progress: bool) -> None:
        self._model, self._folder, self._show = model, cache_folder, show_progress

    def __call__(self, task: str, texts: list[str], prompt: str | None, prompt_name: str | None) -> NDArray[np.float32]:
        if prompt is None and prompt_name is not None:
            if prompt_name not in self._model.prompts:
                known = ", ".join(self._model.prompts)
                raise InputError(f"the model has no prompt {prompt_name!r}: there are {known}")
            prompt = self._model.prompts[prompt_name]
        path = None if self._folder is None else self._path(task, texts, prompt)
        if path is not None and path.is_file():
            cached: NDArray[np.float32] = np.load(path, mmap_mode="c", allow_pickle=False)
            return cached
        encode = self._model.encode_query if task == "query" else self._model.encode_document
        vectors: NDArray[np.float32] = encode(texts, prompt=prompt, normalize=True, show_progress=self._show)
        release_freed_memory()  # The search cannot reuse the fragmented memory of encoding.
        if path is not None:
            write_atomically(path, lambda file: np.save(file, vectors, allow_pickle=False))
        return vectors

    def _path(self, task: str, texts: list[str], prompt: str | None) -> Path:
        identity = {name: value for name, value in self._model.identity.items() if name not in ("name", "revision")}
        digest = hashlib.sha256(json.dumps([identity, task, prompt], sort_keys=True, default=str).encode())
        for text in texts:
            digest.update(len(text).to_bytes(8, "little") + text.encode())
        folder = Path(self._folder or ".")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{task}_embeddings_{digest.hexdigest()}.npy"


def _rescored(
    scorer: PairScorer,
    candidates: Candidates,
    own: Positives,
    first: int,
    queries: Sequence[str],
    documents: Sequence[str],
) -> tuple[Candidates, NDArray[np.float32]]:
    """Return a block's candidates with the scorer's scores, and the scores of its positives, computed in one pass."""
    rows, columns = np.nonzero(candidates.documents >= 0)
    query_texts = [queries[first + row] for row in [*rows, *own.queries]]
    document_texts = [documents[number] for number in [*candidates.documents[rows, columns], *own.documents]]
    scores = cross_scores(scorer, query_texts, document_texts)
    block = np.full(candidates.scores.shape, -np.inf, dtype=np.float32)
    block[rows, columns] = scores[: len(rows)]
    return candidates.with_scores(block), scores[len(rows) :]


def _similarity(queries: NDArray, documents: NDArray, metric: str) -> NDArray[np.float32]:
    if metric == "euclidean":
        return -np.linalg.norm(queries - documents, axis=1).astype(np.float32)
    if metric == "manhattan":
        return -np.abs(queries - documents).sum(axis=1).astype(np.float32)
    return np.einsum("nd,nd->n", queries, documents).astype(np.float32)


def _columns(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    if not len(dataset):
        raise InputError("the dataset has no rows")
    names = dataset.column_names
    for name in (anchor, positive):
        if name is not None and name not in names:
            raise InputError(f"the dataset has no column {name!r}: there are {', '.join(names)}")
    if len(names) < 2:
        raise InputError(f"the dataset needs two columns, queries and positives; there is only {names[0]!r}")
    return anchor or names[0], positive or names[1]


def _texts(dataset: Any, column: str) -> list[str]:
    # A slice is decoded at once; iterating over the column would decode it row by row.
    texts: list[str] = list(dataset[column][:])
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"row {row} (from 0), column {column!r}: {repr(text)[:60]} is not a string")
    return texts


def _check(limits: Limits, negatives: int) -> None:
    require_positive(num_negatives=negatives)
    if limits.range_min < 0:
        raise InputError(f"range_min must be at least 0, not {limits.range_min}")
    if limits.range_max - limits.range_min < negatives:
        raise InputError(
            f"{counted(negatives, 'negative')} cannot be taken from the ranks {limits.range_min} to "
            f"{limits.range_max}: lower num_negatives or range_min, or raise range_max"
        )


def _block_starts(queries: int, show: bool) -> Iterator[int]:
    """Yield the number of the first query of each block, with a progress bar."""
    with progress(total=queries, desc="mining", unit="query", disable=not show) as bar:
        for first in range(0, queries, QUERIES_AT_ONCE):
            yield first
            bar.update(min(QUERIES_AT_ONCE, queries - first))


def _dataset(dataset_class: Any, tables: Sequence[Any]) -> Any:
    import pyarrow as pa
    from datasets.fingerprint import Hasher

    table = pa.concat_tables(tables)
    fields = [
        pa.field(field.name, pa.list_(field.type.value_type) if pa.types.is_large_list(field.type) else field.type)
        for field in table.schema
    ]
    table = table.cast(pa.schema(fields))
    # Without a fingerprint, the dataset would pickle all rows at once to compute one.
    fingerprint = Hasher()
    for batch in table.to_batches():
        fingerprint.update(batch)
    return dataset_class(table, fingerprint=fingerprint.hexdigest())


_STATISTICS: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "mean": np.mean,
    "median": np.median,
    "std": np.std,
    "min": np.min,
    "25%": lambda scores: np.quantile(scores, 0.25),
    "75%": lambda scores: np.quantile(scores, 0.75),
    "max": np.max,
}

"""Hard negatives from retrievers or saved runs, with a quota for each, streamed to Parquet."""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.disk import write_atomically, write_json
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.inputs import local_path, shown, whole_number
from indexing.progress import progress
from pipelines.mining.candidates import Candidates, from_hits, repeated
from pipelines.mining.filtering import Counts, Limits, Sampling, chosen, filtered
from pipelines.mining.folder import JOB_FILE, claim, digest_of_pairs, read_mined, read_part, write_part
from pipelines.mining.formatting import Format, Texts, formatted
from pipelines.mining.positives import Positives
from pipelines.mining.relevant_documents import Documents, Positive, find_documents, normalized
from pipelines.mining.rescoring import PairScorer, ScoreCache, cross_scores
from pipelines.mining.summary import MiningSummary, Shortages

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MiningSettings", "MiningSummary", "Searches", "leg_quotas", "mine", "read_mined"]

logger = logging.getLogger(__name__)

QUERIES_AT_ONCE = 256
FEW_POSITIVES, SAFE_RANK = 2, 10
"""Below so many known positives of a query, on average, its best hits below this rank are often relevant."""


class Searches(Protocol):
    """A retriever: a leg or a hybrid."""

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """Return the `k` best documents of each query."""


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """Settings of a mining job.

    Parameters
    ----------
    quotas
        Number of negatives from each source, by name.
    depth
        Number of hits to consider from each source.
    range_min
        Number of best remaining candidates of each source to skip.
    absolute_margin, relative_margin, max_score, min_score
        See `Limits`; they need a scorer, because scores of different sources are not comparable.
    sampling, seed
        The best candidates of each source (``"top"``), or random ones.
    output_format, output_scores
        See `formatted`.
    """

    quotas: Mapping[str, int]
    depth: int = 100
    range_min: int = 0
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None
    sampling: Sampling = "top"
    seed: int = 0
    output_format: Format = "n-tuple"
    output_scores: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.quotas, Mapping):
            raise InputError(f"quotas must be numbers by source, as in {{'bm25': 2}}, not {shown(self.quotas)}")
        for name, quota in self.quotas.items():
            whole_number(quota, f"the quota of {name!r}", least=0)
        whole_number(self.depth, "depth")
        whole_number(self.seed, "seed", least=0)
        # It checks the other numbers.
        Limits(self.range_min, 0, self.absolute_margin, self.relative_margin, self.max_score, self.min_score)

    @property
    def limited(self) -> bool:
        """True when any limit on scores is set."""
        limits = (self.absolute_margin, self.relative_margin, self.max_score, self.min_score)
        return any(limit is not None for limit in limits)


def mine(
    queries: Mapping[str, str],
    positives: Mapping[str, Sequence[Positive]],
    documents: Documents,
    sources: Mapping[str, Searches | Mapping[str, Mapping[str, float]]],
    settings: MiningSettings,
    path: str | Path,
    *,
    scorer: PairScorer | None = None,
    scorer_name: str = "",
    score_cache: str | Path | None = None,
    collection: str | None = None,
    show_progress: bool = True,
) -> MiningSummary:
    """Mine negatives into a folder of Parquet files, one block of queries at a time.

    A stopped run resumes at the first missing block; memory is bounded by one block.

    Parameters
    ----------
    queries, positives
        By query_id; queries without a positive are skipped. A positive without an id is searched for by its text.
    documents
        The documents that the sources search.
    sources
        By name, as in the settings' quotas: a retriever, or a run {query_id: {doc_id: score}}. A document found by
        several sources counts for each of them, and is taken once. Without a scorer each source's candidates are
        ordered by its ranks.
    path
        The output folder: part-*.parquet (`datasets.load_dataset("parquet", data_files=…)` reads them), mining.json,
        and with a scorer suspects-*.jsonl, the documents that score above a positive.
    scorer, scorer_name
        Model that scores (query, document) pairs, positives included; name that identifies it in the cache of scores.
    score_cache
        File of scores that several jobs may share (``scores.sqlite`` in the output folder).
    collection
        Identifies the state of the documents and sources; a folder of another state is refused.

    Raises
    ------
    InputError
        For a quota without a source, a limit without a scorer, or no query with a positive.
    StorageError
        When `path` holds rows mined with other settings, other pairs or another collection.
    """
    _check(settings, sources, scorer)
    pairs = digest_of_pairs(queries, positives)
    positives = find_documents(positives, documents)
    usable = [query_id for query_id in queries if positives.get(query_id)]
    if not usable:
        raise InputError("no query has a positive document: nothing can be mined")
    folder = local_path(path, "path")
    job = {"settings": asdict(settings), "queries": len(usable), "scorer": scorer_name, "sources": list(sources)}
    job |= {"pairs": pairs, "collection": collection}
    claim(folder, job)
    summary = MiningSummary(folder, len(usable), unjudged=len(queries) - len(usable), quotas=settings.quotas)
    known = sum(len(positives[query_id]) for query_id in usable) / len(usable)
    if known < FEW_POSITIVES and not settings.limited and settings.range_min < SAFE_RANK:
        summary.warnings.append(
            f"a query has {known:.1f} known relevant documents on average and no margin is set, so many negatives may "
            f"be relevant: skip the best hits (range_min {SAFE_RANK} or more), or use a scorer with a relative_margin"
        )
    cache = ScoreCache(score_cache or folder / "scores.sqlite", scorer_name) if scorer is not None else None
    try:
        with progress(total=len(usable), desc="mining", unit="query", disable=not show_progress) as bar:
            for block, low in enumerate(range(0, len(usable), QUERIES_AT_ONCE)):
                query_ids = usable[low : low + QUERIES_AT_ONCE]
                part = folder / f"part-{block:05}.parquet"
                if part.is_file():
                    summary.resumed += len(query_ids)
                    summary.add(*read_part(part))
                else:
                    work = _Block(query_ids, queries, positives, documents, sources, settings, scorer, cache)
                    table, suspects, counts = work.mine(random.Random(f"{settings.seed}:{block}"))
                    if suspects:
                        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in suspects)
                        suspects_path = folder / f"suspects-{block:05}.jsonl"
                        write_atomically(suspects_path, lambda file, lines=lines: file.write(lines.encode()))  # type: ignore[misc]
                    write_part(part, table, counts)
                    summary.add(len(table), counts)
                bar.update(len(query_ids))
    finally:
        if cache is not None:
            cache.close()
    write_json(folder / JOB_FILE, job | {"rows": summary.rows, "complete": True})
    return summary


class _Block:
    """A block of queries with their positives and candidates, documents numbered by text."""

    def __init__(
        self,
        query_ids: Sequence[str],
        queries: Mapping[str, str],
        positives: Mapping[str, Sequence[Positive]],
        documents: Documents,
        sources: Mapping[str, Any],
        settings: MiningSettings,
        scorer: PairScorer | None,
        cache: ScoreCache | None,
    ) -> None:
        self.settings, self.scorer, self.cache, self.sources = settings, scorer, cache, list(sources)
        self.texts = [queries[query_id] for query_id in query_ids]
        self.ids = list(query_ids)
        hits = {
            name: source.search(self.texts, settings.depth)
            if hasattr(source, "search")
            else Hits.from_run(source, list(query_ids)).top(settings.depth)
            for name, source in sources.items()
        }
        found = sorted(set().union(*(set(each.doc_ids) for each in hits.values())))
        # Documents with equal texts share a number: a copy of a positive under another id is not a negative.
        self.documents: list[str] = []
        self.document_ids: list[str] = []
        by_text: dict[str, int] = {}
        pairs = [(row, right) for row, query_id in enumerate(query_ids) for right in positives[query_id]]
        self.positives = Positives.of(
            np.array([row for row, _ in pairs], dtype=np.int64),
            np.array([self._number(by_text, right.text, right.doc_id or "") for _, right in pairs], dtype=np.int64),
            len(query_ids),
        )
        texts = documents.contents(found)
        numbers = {doc_id: self._number(by_text, text, doc_id) for doc_id, text in zip(found, texts, strict=True)}
        found_by_sources = from_hits(hits, numbers, settings.depth)
        copies = [(row, numbers[doc_id]) for row, right in pairs for doc_id in right.copies if doc_id in numbers]
        rows, excluded = np.array(copies, dtype=np.int64).reshape(-1, 2).T
        is_copy = Positives.of(rows, excluded, len(query_ids)).mask(found_by_sources.documents)
        self.found = found_by_sources.without(is_copy)

    def mine(self, draw: random.Random) -> "tuple[pa.Table, list[dict[str, Any]], dict[str, Any]]":
        """Return the rows, the documents that score above a positive, and the counts for the summary."""
        found, scores = self._scored()
        settings = self.settings
        width = found.scores.shape[1]
        limits = Limits(
            0, width, settings.absolute_margin, settings.relative_margin, settings.max_score, settings.min_score
        )
        once = found.without(repeated(found.remaining))
        suspects = self._suspects(once, scores) if self.scorer is not None else []
        counts = Counts()
        filtered(once, self.positives, scores, limits, counts)
        left = filtered(found, self.positives, scores, limits, Counts())
        taken: list[Candidates] = []
        for at, name in enumerate(self.sources):
            own = left.without(np.asarray(left.sources) != at).sorted()
            own = own.take(
                np.broadcast_to(np.arange(settings.range_min, width), (len(own.scores), width - settings.range_min))
            )
            for earlier in taken:
                own = own.without((own.documents[:, :, None] == earlier.remaining[:, None, :]).any(axis=2))
            taken.append(chosen(own.sorted(), settings.quotas.get(name, 0), settings.sampling, draw))
        shortages = self._shortages(taken)
        negatives = Candidates(
            np.concatenate([part.documents for part in taken], axis=1),
            np.concatenate([part.scores for part in taken], axis=1),
        )
        table = formatted(
            settings.output_format,
            Texts(self.texts, self.ids),
            Texts(self.documents, self.document_ids),
            0,
            self.positives,
            scores,
            negatives,
            scores=settings.output_scores,
            anchor="query",
        )
        counted = {
            **asdict(counts),
            "suspects": len(suspects),
            "suspect_queries": len({line["query_id"] for line in suspects}),
            "shortages": asdict(shortages),
        }
        return table, suspects, counted

    def _shortages(self, taken: Sequence[Candidates]) -> Shortages:
        """Return for which queries sources have fewer negatives than their quotas."""
        quotas = [self.settings.quotas.get(name, 0) for name in self.sources]
        found = np.stack([np.isfinite(part.scores).sum(axis=1) for part in taken], axis=1)  # [queries, sources]
        lacks = found < quotas
        short = lacks.any(axis=1)
        is_left_out = short if self.settings.output_format == "n-tuple" else ~found.any(axis=1)
        if self.settings.output_format == "labeled-pair":
            is_left_out = np.zeros_like(short)  # The positives are rows, too.
        numbers = {name: int(lacks[:, at].sum()) for at, name in enumerate(self.sources)}
        last = dict(zip(self.sources, found[short][-1].tolist(), strict=True)) if short.any() else {}
        by_source = {name: count for name, count in numbers.items() if count}
        return Shortages(int(short.sum()), int((short & is_left_out).sum()), by_source, last)

    def _scored(self) -> tuple[Candidates, NDArray[np.float32]]:
        rows, columns = np.nonzero(self.found.documents >= 0)
        if self.scorer is None:
            ranks = np.zeros(self.found.documents.shape, dtype=np.float32)
            for at in range(len(self.sources)):
                mine = (self.found.sources == at) & np.isfinite(self.found.scores)
                ranks += mine / np.maximum(np.cumsum(mine, axis=1), 1)
            found = Candidates(
                self.found.documents, np.where(ranks > 0, ranks, -np.inf).astype(np.float32), self.found.sources
            )
            return found, np.ones(len(self.positives.documents), dtype=np.float32)
        owners = self.positives.queries
        asked = [self.texts[row] for row in [*rows, *owners]]
        read = [self.documents[at] for at in [*self.found.documents[rows, columns], *self.positives.documents]]
        scores = cross_scores(self.scorer, asked, read, cache=self.cache)
        block = np.full(self.found.scores.shape, -np.inf, dtype=np.float32)
        block[rows, columns] = scores[: len(rows)]
        alive = np.isfinite(self.found.scores)
        return self.found.with_scores(np.where(alive, block, -np.inf)), scores[len(rows) :]

    def _suspects(self, found: Candidates, scores: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return the candidates that score above the query's lowest positive, highest first, without positives."""
        lowest = self.positives.lowest(scores)
        others = found.without(self.positives.mask(found.documents)).sorted()
        lines = []
        for row, column in zip(*np.nonzero(others.scores > lowest[:, None]), strict=True):
            number = int(others.documents[row, column])
            lines.append(
                {
                    "query_id": self.ids[row],
                    "query": self.texts[row],
                    "doc_id": self.document_ids[number],
                    "text": self.documents[number],
                    "score": float(others.scores[row, column]),
                    "positive_score": float(lowest[row]),
                }
            )
        return lines

    def _number(self, by_text: dict[str, int], text: str, doc_id: str) -> int:
        number = by_text.setdefault(normalized(text), len(by_text))
        if number == len(self.documents):
            self.documents.append(text)
            self.document_ids.append(doc_id)
        return number


def leg_quotas(collection: str | Path, legs: Sequence[str], quotas: Mapping[str, int] | None) -> dict[str, int]:
    """Return how many negatives each leg of a collection gives: the given numbers, or two of each leg.

    Raises
    ------
    InputError
        For a leg that the collection does not have.
    """
    if quotas is None:
        return dict.fromkeys(legs, 2)
    if unknown := [name for name in quotas if name not in legs]:
        raise InputError(f"{collection} has no leg {unknown[0]!r}: it has {', '.join(legs)}")
    return dict(quotas)


def _check(settings: MiningSettings, sources: Mapping[str, Any], scorer: PairScorer | None) -> None:
    unknown = [name for name in settings.quotas if name not in sources]
    if unknown:
        raise InputError(
            f"there is a quota for {unknown[0]!r} and no such source: the sources are {', '.join(sources)}"
        )
    wrong = [name for name, quota in settings.quotas.items() if quota < 0]
    if wrong or not sum(settings.quotas.values()):
        raise InputError("quotas must be 0 or more and not all 0, as in bm25=2,dense=2")
    if settings.depth < 1 or not 0 <= settings.range_min < settings.depth:
        raise InputError(f"range_min must be in [0, {settings.depth}), the depth, and is {settings.range_min}")
    if settings.limited and scorer is None:
        raise InputError("a limit needs scores that can be compared: name a cross-encoder that scores all candidates")

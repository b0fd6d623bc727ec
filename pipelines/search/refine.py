"""Refine: choose the hits to show: score threshold, near-duplicates, one hit per group, diversity."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hit
from indexing.inputs import number, text, whole_number
from pipelines.near_duplicates import NearDuplicates
from retrieve.fusion.normalizers import min_max

_WORD = re.compile(r"\w+")

Vectors = Callable[[Sequence[str]], NDArray[np.floating]]
"""Returns the vectors [n, dim] of these documents."""


@dataclass(frozen=True, slots=True)
class Refine:
    """Steps that choose `k` of a query's best hits, in this order.

    Parameters
    ----------
    threshold
        Remove hits with a lower score: the reranker's, or without one the fused score (0 to 1 for the default fusion).
    collapse
        Remove near-duplicates of better hits: those whose sets of words have at least this Jaccard overlap, as in 0.9.
    group_by
        A metadata field: keep only the best hit for each of its values. Hits without the field are kept.
    mmr
        Order by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each next hit has the largest
        ``mmr * relevance - (1 - mmr) * highest cosine with a hit above``; relevance is the score, min-max over these
        hits. 1 changes nothing, 0 is diversity alone. Vectors come from the first dense leg.
    pool
        Number of best hits to choose from.
    """

    threshold: float | None = None
    collapse: float | None = None
    group_by: str | None = None
    mmr: float | None = None
    pool: int = 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", whole_number(self.pool, "pool"))
        if self.threshold is not None:
            number(self.threshold, "threshold")
        if self.collapse is not None and number(self.collapse, "collapse", above=0) > 1:
            raise InputError(f"collapse must be above 0 and at most 1, not {self.collapse}")
        if self.mmr is not None:
            number(self.mmr, "mmr", least=0, most=1)
        if self.group_by is not None:
            text(self.group_by, "group_by")

    @property
    def reads_documents(self) -> bool:
        """True when the steps need the documents of the whole pool."""
        return self.collapse is not None or self.group_by is not None

    def among(self, hits: int) -> Self:
        """Return the same steps, which choose from at least so many hits."""
        return self if self.pool >= hits else replace(self, pool=hits)

    def apply(self, hits: Sequence[Hit], k: int, documents: Mapping[str, Document], vectors: Vectors) -> list[Hit]:
        """Return at most `k` of a query's hits in their new order; each keeps its score and old rank."""
        kept = list(hits)
        if self.threshold is not None:
            kept = [hit for hit in kept if hit.score >= self.threshold]
        if self.collapse is not None:
            shown = NearDuplicates(self.collapse)
            kept = [hit for hit in kept if shown.add(_words(documents[hit.doc_id]))]
        if self.group_by is not None:
            kept = _best_of_each_value(kept, documents, self.group_by)
        if self.mmr is not None and len(kept) > 1:
            scores = np.array([hit.score for hit in kept])
            order = mmr_order(scores, vectors([hit.doc_id for hit in kept]), k, balance=self.mmr)
            kept = [kept[place] for place in order]
        return kept[:k]


def mmr_order(scores: NDArray[np.floating], vectors: NDArray[np.floating], k: int, *, balance: float) -> list[int]:
    """Return the order of hits by maximal marginal relevance (see `Refine`).

    Parameters
    ----------
    scores
        [hits], higher is better.
    vectors
        [hits, dim], not necessarily normalized; a zero vector has cosine 0 with every other.
    k
        Number of hits to choose.
    balance
        Weight of relevance, 0 to 1.

    Returns
    -------
    list of int
        Positions of the chosen hits, best first; ties by position.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors, dtype=np.float64), where=lengths > 0)
    relevance = balance * min_max(scores, np.array([0, len(scores)]))
    nearest = np.full(len(scores), -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        value = relevance - (1 - balance) * (nearest if chosen else np.zeros(len(scores)))
        value[chosen] = -np.inf
        chosen.append(int(np.argmax(value)))
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
    return chosen


def _best_of_each_value(hits: Sequence[Hit], documents: Mapping[str, Document], field: str) -> list[Hit]:
    seen: set[str] = set()
    kept = []
    for hit in hits:
        value = documents[hit.doc_id].metadata.get(field)
        # repr: a list is a value too, and 1 is not "1".
        if value is None or repr(value) not in seen:
            kept.append(hit)
            seen.add(repr(value))
    return kept


def _words(document: Document) -> frozenset[str]:
    return frozenset(_WORD.findall(document.contents.lower()))

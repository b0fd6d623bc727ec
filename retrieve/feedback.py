"""Pseudo-relevance feedback: search, take the best documents for relevant, and search with a query that they improve.

RM3 (Lavrenko and Croft 2001; Abdul-Jaleel et al. 2004) and Rocchio (1971) add weighted words to a query of the BM25
leg, as Anserini's ``Rm3Reranker`` and ``RocchioReranker`` do. `VectorFeedback` moves the query's vector towards those
of the best documents, as pyserini's Rocchio for dense vectors does (Li et al. 2021).
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.inputs import number, whole_number
from indexing.query_syntax import SyntaxQuery, weighted_terms
from retrieve.retrievers import Bm25Retriever, DenseRetriever

if TYPE_CHECKING:
    from indexing.indexes.base import Index, Terms
    from retrieve.protocols import VectorEncoder

Texts = Callable[[Sequence[str]], Sequence[str]]
"""Return the texts of documents, as they are indexed."""

MOST_COMMON = 0.1
"""Words in a larger part of all documents are no feedback terms."""
SHORTEST, LONGEST = 2, 20
"""Characters of a feedback term."""
REMEMBERED = 512
"""Number of improved queries kept, so that explanations need no second search for them."""

_PLAIN = re.compile("[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Rm3:
    """RM3 with Anserini's defaults.

    Parameters
    ----------
    terms, documents
        Number of terms added, and of documents they come from.
    original_weight
        Weight of the original query, 0 to 1.
    """

    terms: int = 10
    documents: int = 10
    original_weight: float = 0.5

    def __post_init__(self) -> None:
        _check(self, ("terms", "documents"))
        number(self.original_weight, "original_weight", least=0, most=1)

    def weights(
        self, query: Sequence[str], documents: Sequence[Counter[str]], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return the weight of each term of the improved query, from the terms of the documents and their scores."""
        original = _scaled(_counted(query), 1)
        pruned = [
            _pruned({term: n for term, n in counts.items() if _PLAIN.fullmatch(term)}, self.terms)
            for counts in documents
        ]
        norms = [np.float32(sum(counts.values())) for counts in pruned]
        model = _summed(pruned, norms, [np.float32(score) for score in scores])
        feedback = _scaled(_pruned(model, self.terms), 1)
        return _mixed(original, self.original_weight, feedback, 1 - self.original_weight)


@dataclass(frozen=True, slots=True)
class Rocchio:
    """Rocchio with Anserini's defaults, without negative documents.

    Parameters
    ----------
    terms, documents
        Number of terms added, and of documents they come from.
    alpha, beta
        Weight of the original query, and of the documents' mean, each of length 1.
    """

    terms: int = 10
    documents: int = 10
    alpha: float = 1.0
    beta: float = 0.75

    def __post_init__(self) -> None:
        _check(self, ("terms", "documents"))
        number(self.alpha, "alpha", least=0)
        number(self.beta, "beta", least=0)

    def weights(
        self, query: Sequence[str], documents: Sequence[Counter[str]], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return the weight of each term of the improved query, from the terms of the documents."""
        original = _scaled(_counted(query), 2)
        norms = [np.float32(_norm(counts, 2)) for counts in documents]
        sums = _summed(documents, norms, [np.float32(1)] * len(documents))
        model = {term: weight / np.float32(len(documents)) for term, weight in sums.items()}
        return _mixed(original, self.alpha, _scaled(_pruned(model, self.terms), 2), self.beta)


@dataclass(frozen=True, slots=True)
class VectorFeedback:
    """Rocchio on vectors: ``alpha * query + beta * mean of the best documents``, as long as the query was.

    Parameters
    ----------
    documents
        Number of documents.
    alpha, beta
        Weights of the query and of the documents' mean.
    """

    documents: int = 3
    alpha: float = 0.9
    beta: float = 0.1

    def __post_init__(self) -> None:
        _check(self, ("documents",))
        number(self.alpha, "alpha", least=0)
        number(self.beta, "beta", least=0)


Feedback: TypeAlias = Rm3 | Rocchio | VectorFeedback
METHODS: Mapping[str, type[Feedback]] = {"rm3": Rm3, "rocchio": Rocchio, "vector": VectorFeedback}
OF_ROWS: Mapping[str, tuple[str, ...]] = {"text": ("rm3", "rocchio"), "vectors": ("vector",)}
"""Methods by the rows of the leg that they are for."""


def feedback_of(given: "str | Mapping[str, Any]", rows: str, leg: str) -> Feedback:
    """Return the feedback that a configuration names: a method, or a mapping with ``method`` and its options.

    Raises
    ------
    InputError
        For an unknown method or option, or a method that is not for this leg's rows.
    """
    options = {"method": given} if isinstance(given, str) else dict(given)
    method = options.pop("method", None)
    known = OF_ROWS.get(rows, ())
    if method not in known:
        remedy = f"choose {' or '.join(known)}" if known else "only a BM25 and a dense leg have it"
        raise InputError(f"feedback {method!r} does not apply to the leg {leg!r}: {remedy}")
    try:
        return METHODS[method](**options)
    except TypeError:
        fields = ", ".join(METHODS[method].__dataclass_fields__)
        raise InputError(
            f"feedback {method!r} of the leg {leg!r} has the options {fields}, not {', '.join(options)}"
        ) from None


class Bm25FeedbackRetriever(Bm25Retriever):
    """BM25 with feedback. A query with operators is searched as it is.

    Parameters
    ----------
    index
        The index of the leg.
    texts
        The documents' texts.
    feedback
        `Rm3` or `Rocchio`.
    """

    # The weights of a query sum to about 1, so its scores are not on the scale of BM25.
    score_kind = "other"

    def __init__(self, index: "Index", texts: Texts, feedback: Rm3 | Rocchio, *, name: str = "bm25") -> None:
        super().__init__(index, name=name)
        self._texts, self.feedback = texts, feedback
        # By the object, not by its text: another search of the same text may have another filter, and so other words.
        # The text is kept beside, so that no other object gets its number.
        self._remembered: OrderedDict[int, tuple[str, str]] = OrderedDict()

    def score(self, encoded: Any, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.floating]:
        """Score given candidates for the improved queries."""
        return super().score(self._known(encoded), doc_ids)

    def terms(self, queries: Sequence[str], hits: Hits) -> "list[Terms] | None":
        """Return each matched word of the improved query with its part of the score."""
        return super().terms(self._known(queries), hits)

    def improved(self, queries: Sequence[str], filter: Any = None) -> list[str]:
        """Return the queries with the terms of their best documents; those without hits as they are."""
        plain = [query for query in queries if not isinstance(query, SyntaxQuery)]
        found = self.index.search(plain, self.feedback.documents, filter) if plain else Hits.empty(0)
        better = dict(zip(plain, self._expanded(plain, found), strict=True))
        return [query if isinstance(query, SyntaxQuery) else better[query] for query in queries]

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        improved = self.improved(encoded, filter)
        for query, better in zip(encoded, improved, strict=True):
            self._remembered.pop(id(query), None)
            self._remembered[id(query)] = query, better
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return self.index.search(improved, k, filter)

    def _known(self, queries: Sequence[str]) -> list[str]:
        """Return the improved queries: those of the search of these objects, where it is remembered."""
        known = [self._remembered.get(id(query)) for query in queries]
        missing = [query for query, one in zip(queries, known, strict=True) if one is None]
        found = dict(zip(missing, self.improved(missing), strict=True)) if missing else {}
        return [found[query] if one is None else one[1] for query, one in zip(queries, known, strict=True)]

    def _expanded(self, queries: Sequence[str], hits: Hits) -> list[str]:
        words = self.index.words()
        if words is None:
            raise InputError(f"{self.index.path} has no statistics of words, which feedback needs: keep it in Lucene")
        terms = words.analyzed([*queries, *self._texts(hits.doc_ids)])
        of_queries, of_documents = terms[: len(queries)], terms[len(queries) :]
        counts = words.counts(term for found in of_documents for term in found)
        common = np.float32(MOST_COMMON)

        def is_feedback(term: str) -> bool:
            # Anserini's own comparison in float32.
            rare = np.float32(counts[term].documents) / np.float32(words.documents) <= common
            return SHORTEST <= len(term) <= LONGEST and bool(rare)

        kept = {term for term in counts if is_feedback(term)}
        vectors = [Counter(term for term in found if term in kept) for found in of_documents]
        improved = []
        for row, query in enumerate(queries):
            start, stop = int(hits.offsets[row]), int(hits.offsets[row + 1])
            if start == stop:
                improved.append(query)
                continue
            weights = self.feedback.weights(of_queries[row], vectors[start:stop], hits.scores[start:stop].tolist())
            improved.append(weighted_terms(query, weights))
        return improved


class DenseFeedbackRetriever(DenseRetriever):
    """Dense retrieval with feedback, over an index that returns its vectors."""

    def __init__(
        self, encoder: "VectorEncoder", index: "Index", feedback: VectorFeedback, *, name: str = "dense"
    ) -> None:
        super().__init__(encoder, index, name=name)
        if not hasattr(index, "vectors"):
            raise InputError(
                f"feedback needs the vectors of documents, which the index of the leg {name!r} does not return"
            )
        self.feedback = feedback

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        index: Any = self.index
        first = index.search(encoded, self.feedback.documents, filter)
        return self.index.search(
            improved_vectors(encoded, first, index.vectors(first.doc_ids), self.feedback), k, filter
        )


def improved_vectors(
    queries: NDArray[np.floating], hits: Hits, vectors: NDArray[np.floating], feedback: VectorFeedback
) -> NDArray[np.float32]:
    """Return each query's vector moved towards those of its hits, as `VectorFeedback`.

    Parameters
    ----------
    queries
        float [queries, dimension].
    hits
        The best documents of each query.
    vectors
        float [hits, dimension], the vectors of these documents.
    """
    moved = np.array(queries, dtype=np.float32)
    for row in range(len(moved)):
        of_row = vectors[hits.offsets[row] : hits.offsets[row + 1]]
        if len(of_row):
            new = feedback.alpha * moved[row] + feedback.beta * of_row.mean(axis=0)
            length = np.linalg.norm(new)
            moved[row] = new * (np.linalg.norm(moved[row]) / length) if length > 0 else moved[row]
    return moved


def _check(options: Feedback, names: Sequence[str]) -> None:
    for name in names:
        object.__setattr__(options, name, whole_number(getattr(options, name), name))


def _counted(terms: Sequence[str]) -> dict[str, np.float32]:
    return {term: np.float32(count) for term, count in Counter(terms).items()}


def _pruned(weights: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Keep the largest weights; ties by term."""
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:size])


def _summed(
    documents: Sequence[Mapping[str, int]], norms: Sequence[np.float32], factors: Sequence[np.float32]
) -> dict[str, np.float32]:
    """Return for each term the sum over documents of its count, divided by the document's norm, times its factor.

    Computed in float32, document by document, as Anserini does; a document with next to no terms adds nothing.
    """
    sums: dict[str, np.float32] = {}
    for term in dict.fromkeys(term for counts in documents for term in counts):
        weight = np.float32(0)
        for counts, norm, factor in zip(documents, norms, factors, strict=True):
            if norm > 0.001:
                weight += np.float32(counts.get(term, 0)) / norm * factor
        sums[term] = weight
    return sums


def _mixed(
    original: Mapping[str, np.float32], of_original: float, feedback: Mapping[str, np.float32], of_feedback: float
) -> dict[str, float]:
    """Return the weighted sum of two queries, terms of the original first; those of weight 0 are left out."""
    mixed = {
        term: of_original * float(original.get(term, 0)) + of_feedback * float(feedback.get(term, 0))
        for term in dict.fromkeys([*original, *feedback])
    }
    return {term: weight for term, weight in mixed.items() if weight > 0}


def _norm(weights: Mapping[str, Any], power: int) -> float:
    return float(sum(abs(float(weight)) ** power for weight in weights.values())) ** (1 / power)


def _scaled(weights: Mapping[str, Any], power: int) -> dict[str, np.float32]:
    """Scale to unit L1 or L2 norm; no weights stay none."""
    norm = _norm(weights, power)
    return {term: np.float32(float(weight) / norm) for term, weight in weights.items()} if norm else {}

"""`certify`: compare a collection with another one: documents, each leg and the fused result, against stated bounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.deployment.checking import Difference, compare_points
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.indexes.bm25_weights import DEFAULT_ANALYZER
from indexing.indexes.registry import kind_of
from indexing.plurals import counted
from pipelines.measures.evaluate import evaluate
from pipelines.measures.parity import Parity, parity
from pipelines.models import Models
from pipelines.search.pipeline import SearchPipeline
from pipelines.search.tenants import with_tenant

FUSED = "fused"
SAMPLED_WORDS = 8
"""Number of words, from its beginning, of a document that becomes a query."""
LISTED = 20
"""Number of differing documents that a certificate names."""
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Bound:
    """Bounds that a comparison must keep.

    Parameters
    ----------
    setting
        ``exact``, ``rounded`` (term weights as whole numbers on one side), ``graph``, ``quantised``, ``shards`` (BM25
        whose statistics are those of each shard on either side), or ``analysed`` (words are analysed in
        another way on either side, so that scores are of other words).
    score
        Largest relative difference of a score.
    overlap
        Lowest mean overlap of the best hits.
    ndcg
        Largest difference of nDCG, where queries are judged.
    """

    setting: str
    score: float
    overlap: float
    ndcg: float


BOUNDS = {
    bound.setting: bound
    for bound in (
        Bound("exact", 1e-3, 0.999, 0.002),
        Bound("rounded", 2e-2, 0.95, 0.01),
        Bound("graph", 1e-3, 0.95, 0.01),
        Bound("quantised", 1e-2, 0.85, 0.02),
        Bound("shards", 1.0, 0.6, 0.1),
        Bound("analysed", 1.0, 0.6, 0.1),
    )
}
"""The bounds by setting, the strictest first."""
_TIE = 2e-2
"""Largest relative difference of two scores that counts as a tie."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One leg, or the fused result, on both sides.

    Parameters
    ----------
    name
        The leg, or ``fused``.
    parity
        How alike the answers are.
    bound
        What was to be met.
    ndcg
        nDCG of both sides, where queries are judged.
    failures
        What was not met; empty if all was.
    """

    name: str
    parity: Parity
    bound: Bound
    ndcg: tuple[float, float] | None
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Outcome of `certify`.

    Parameters
    ----------
    one, other
        The two collections.
    documents
        Number of documents on each side.
    compared
        Number of documents that were compared.
    differing
        Number of differences found in documents, payloads and stored vectors.
    differences
        The first of them.
    comparisons
        Each leg, then the fused result.
    missing
        Legs that only the first has.
    """

    one: str
    other: str
    documents: tuple[int, int]
    compared: int
    differing: int
    differences: Sequence[Difference]
    comparisons: Sequence[Comparison]
    missing: Sequence[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if nothing differs beyond its bound."""
        return not self.differing and not any(one.failures for one in self.comparisons)

    @property
    def as_json(self) -> dict[str, Any]:
        """The certificate as plain values."""
        return {"passed": self.passed, **asdict(self)}

    def lines(self) -> list[str]:
        """Return the certificate as text."""
        lines = [
            f"{self.one} against {self.other}: {'PASSED' if self.passed else 'FAILED'}",
            f"  documents: {self.documents[0]:,} and {self.documents[1]:,}; {self.compared:,} compared, "
            f"{counted(self.differing, 'difference')}",
            *(f"    DIFFERS: {difference}" for difference in self.differences),
        ]
        for one in self.comparisons:
            found = one.parity
            quantiles = ", ".join(f"{level} {value:.1e}" for level, value in found.quantiles.items())
            lines.append(
                f"  {one.name} ({one.bound.setting}): overlap {found.overlap:.4f} (at least {one.bound.overlap}), RBO "
                f"{found.rbo:.4f}, scores within {found.largest:.1e} (at most {one.bound.score:g}; quantiles "
                f"{quantiles})" + ("" if one.ndcg is None else f", nDCG {one.ndcg[0]:.4f} and {one.ndcg[1]:.4f}")
            )
            lines += [f"    FAILS: {failure}" for failure in one.failures]
        if self.missing:
            lines.append(f"  not compared: {', '.join(self.missing)}, which only {self.one} has")
        return lines


def certify(
    one: str | Path,
    other: str | Path,
    *,
    queries: Mapping[str, str] | None = None,
    sampled: int = 100,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    k: int = 10,
    tenant: str | None = None,
    models: Models | None = None,
    **encoders: Any,
) -> Certificate:
    """Compare a collection with another, or with a deployed one: documents, every common leg, and the fused result.

    Parameters
    ----------
    one, other
        Collections, or deployed ones (a folder, ``http://HOST:6333/NAME``). The points of a deployed `other` are
        compared one by one with what `one` would send.
    queries
        Texts by query id; by default the beginnings of documents.
    sampled
        Number of these.
    qrels
        Judgements, for nDCG.
    k
        Number of best hits that are compared.
    tenant
        Compare answers within this tenant, by the field of tenants that either side declares; documents all the same.
    models
        The loader of encoders.
    **encoders
        ``dense``, ``sparse``, ``multi_vector``: as for `SearchPipeline.open`, for both.
    """
    models = models or Models()
    with (
        SearchPipeline.open(one, models=models, reranker=None, **encoders) as left,
        SearchPipeline.open(other, models=models, reranker=None, **encoders) as right,
    ):
        field = left.tenants or right.tenants
        filter = with_tenant(None, tenant, field, left.collection.snapshot)
        asked = dict(queries) if queries is not None else sampled_queries(left.collection, sampled, filter)
        if not asked:
            raise InputError(f"{one} has no documents to make queries of: give queries (--queries)")
        compared, differences = _documents(left.collection, right.collection)
        ours, theirs = left.collection.manifest.legs, right.collection.manifest.legs
        common = [name for name in ours if name in theirs and ours[name].rows == theirs[name].rows]
        texts = list(asked.values())
        comparisons = []
        for name in common:
            bound, scale = bound_of(ours[name], theirs[name]), scale_of(ours[name], theirs[name])
            if ours[name].rows == "text" and bound.setting == "exact":
                in_shards = any(side.collection.index(name).statistics_shards() > 1 for side in (left, right))
                bound = BOUNDS["shards"] if in_shards else bound
            hits = right.leg(name).search(texts, k, filter=filter), left.leg(name).search(texts, k, filter=filter)
            comparisons.append(_compared(name, *hits, bound, scale, k, list(asked), qrels))
        if len(common) > 1 and len(common) == len(ours) == len(theirs):
            loosest = max((one.bound for one in comparisons), key=lambda bound: list(BOUNDS).index(bound.setting))
            hits = right.retrieve(texts, k, filter=filter), left.retrieve(texts, k, filter=filter)
            comparisons.append(_compared(FUSED, *hits, loosest, 1.0, k, list(asked), qrels))
        return Certificate(
            str(one),
            str(other),
            (len(left.collection), len(right.collection)),
            compared,
            len(differences),
            differences[:LISTED],
            comparisons,
            [name for name in ours if name not in common],
        )


def sampled_queries(collection: Collection, count: int, filter: Any = None) -> dict[str, str]:
    """Return the beginnings of documents that match a filter, evenly distributed, as queries by the documents' ids."""
    documents: Iterator[Document]
    if filter is None:
        step = max(1, len(collection) // max(count, 1))
        documents = islice(iter(collection.documents), 0, None, step)
    else:
        ids = sorted(collection.matching(filter))
        documents = iter(collection.documents.get(ids[:: max(1, len(ids) // max(count, 1))]))
    texts = ((one.doc_id, " ".join(one.contents.split()[:SAMPLED_WORDS])) for one in documents)
    return dict(islice(((doc_id, text) for doc_id, text in texts if text), count))


def bound_of(one: Leg, other: Leg) -> Bound:
    """Return the bound for a leg that is stored as these two."""
    if one.rows == "text" and _analyzer(one) != _analyzer(other):
        return BOUNDS["analysed"]
    kinds = [(kind_of(leg.backend), leg) for leg in (one, other)]
    precisions = {kind.precision(leg.rows, leg.parameters) for kind, leg in kinds}
    if "quantised" in precisions:
        return BOUNDS["quantised"]
    if not all(kind.is_exact(leg.rows, leg.parameters) for kind, leg in kinds):
        return BOUNDS["graph"]
    return BOUNDS["rounded" if len(precisions) > 1 or scale_of(one, other) != 1 else "exact"]


def _analyzer(leg: Leg) -> str:
    return str(leg.parameters.get("analyzer") or DEFAULT_ANALYZER)


def scale_of(one: Leg, other: Leg) -> float:
    """Return how many times as high the first leg's scores are."""
    return kind_of(one.backend).score_scale(one.parameters) / kind_of(other.backend).score_scale(other.parameters)


def _compared(
    name: str,
    found: Hits,
    expected: Hits,
    bound: Bound,
    scale: float,
    k: int,
    ids: list[str],
    qrels: Mapping[str, Mapping[str, int]] | None,
) -> Comparison:
    alike = parity(found, expected, k, scale=scale, tie=min(bound.score, _TIE))
    failures = []
    if alike.overlap < bound.overlap:
        failures.append(f"the overlap is {alike.overlap:.4f}, below {bound.overlap}")
    # The default fusion's scores depend on all hits of a query, so that one other hit moves them all.
    if name != FUSED and alike.largest > bound.score:
        failures.append(f"a score differs by {alike.largest:.1e}, above {bound.score:g}")
    ndcg = None
    if qrels is not None:
        ndcg = _ndcg(expected, ids, qrels, k), _ndcg(found, ids, qrels, k)
        if abs(ndcg[0] - ndcg[1]) > bound.ndcg:
            failures.append(f"nDCG@{k} is {ndcg[1]:.4f} in place of {ndcg[0]:.4f}")
    return Comparison(name, alike, bound, ndcg, tuple(failures))


def _ndcg(hits: Hits, ids: list[str], qrels: Mapping[str, Mapping[str, int]], k: int) -> float:
    asked = {query: qrels[query] for query in ids if query in qrels}
    measured = evaluate(hits, asked, [f"nDCG@{k}"], queries=ids)
    return next(iter(measured.means.values()))


def _documents(one: Collection, other: Collection) -> tuple[int, list[Difference]]:
    """Compare all documents; return how many, and what differs."""
    if isinstance(other, DeployedCollection) and not isinstance(one, DeployedCollection):
        return len(one), compare_points(one.snapshot, other.engine, other.layout)
    if isinstance(one, DeployedCollection):
        return 0, []
    found = []
    ids = list(one.documents.ids())
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        ours, theirs = one.documents.digests(part), other.documents.digests(part)
        for doc_id in part:
            if doc_id not in theirs:
                found.append(Difference(doc_id, "absent", f"the document {doc_id!r} is not in {other.path}"))
            elif ours.get(doc_id) != theirs[doc_id]:
                says = f"the document {doc_id!r}: its title, text or metadata differ"
                found.append(Difference(doc_id, "payload", says))
    known = set(ids)
    extra = [doc_id for doc_id in other.documents.ids() if doc_id not in known]
    found += [Difference(doc_id, "extra", f"the document {doc_id!r} is not in {one.path}") for doc_id in extra]
    return len(ids), found

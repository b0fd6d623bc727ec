"""What all adapters share: how a result is described to a framework, and texts reranked that came from anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexing.errors import SetupError
from indexing.hits import Hits, LegHit
from pipelines.search.results import SearchResult
from retrieve.reranking.cross_encoder import FIRST_STAGE, RERANKER

if TYPE_CHECKING:
    from retrieve.reranking.cross_encoder import CandidateReranker

RETRIEVAL = "retrieval"
"""The metadata key that says how a document was found; the document's own fields stand beside it as they are."""


def missing(error: ModuleNotFoundError, extra: str) -> SetupError:
    """Say which extra brings a framework that is not installed."""
    return SetupError(
        f"the module {error.name!r} is not installed: `pip install 'retrieve-rerank[{extra}]'` brings all that this "
        "adapter needs"
    )


def metadata_of(result: SearchResult) -> dict[str, Any]:
    """Give a document's title and fields, and under `RETRIEVAL` its id, score, rank and provenance."""
    plain = result.as_dict()
    found = {key: plain[key] for key in ("doc_id", "score", "rank", "legs", "explanation") if key in plain}
    titled = {"title": result.title} if result.title else {}
    return {**titled, **result.metadata, RETRIEVAL: found}


def contents_of(text: str, metadata: Mapping[str, Any]) -> str:
    """Give what a reranker reads, as `Document.contents` has it: title, a space, text."""
    title = metadata.get("title")
    return f"{title} {text}".strip() if isinstance(title, str) else text


@dataclass(frozen=True, slots=True)
class Reranked:
    """One of the texts after reranking.

    Parameters
    ----------
    position
        Where it stood among the texts that were given.
    rank, score
        Where it stands now, and by what.
    first_stage
        Its rank and score before.
    reranker
        The reranker's own.
    """

    position: int
    rank: int
    score: float
    first_stage: LegHit
    reranker: LegHit

    def added_to(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Give the metadata with the new rank and score, and with both stages among the provenance."""
        found = metadata.get(RETRIEVAL)
        found = dict(found) if isinstance(found, Mapping) else {}
        stages = {FIRST_STAGE: self.first_stage, RERANKER: self.reranker}
        legs = {name: {"rank": leg.rank, "score": leg.score} for name, leg in stages.items()}
        return {
            **metadata,
            RETRIEVAL: {**found, "score": self.score, "rank": self.rank, "legs": {**found.get("legs", {}), **legs}},
        }


def rerank_texts(
    reranker: "CandidateReranker",
    query: str,
    texts: Sequence[str],
    scores: Sequence[float | None],
    top: int | None = None,
) -> list[Reranked]:
    """Rerank one query's texts, best first.

    Parameters
    ----------
    texts
        What the reranker reads.
    scores
        The first stage's, which a reranker with a ``weight`` keeps a part of. Where any is missing, the texts count
        as ranked in the order given, at equal distances.
    top
        How many are wanted; all by default.
    """
    if not texts:
        return []
    known = [score for score in scores if score is not None]
    if len(known) < len(texts):
        known = [float(len(texts) - place) for place in range(len(texts))]
    # Of equal scores the lower id comes first: digits of one width keep the order given.
    ids = [f"{place:09d}" for place in range(len(texts))]
    hits = Hits.from_run({"": dict(zip(ids, known, strict=True))}, [""])[0]
    ranking = reranker.rerank(query, hits, dict(zip(ids, texts, strict=True)))
    return [
        Reranked(int(hit.doc_id), hit.rank, hit.score, hit.legs[FIRST_STAGE], hit.legs[RERANKER])
        for hit in ranking[: len(texts) if top is None else top]
    ]

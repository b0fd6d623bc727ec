"""Functions shared by the adapters: a result's metadata, and reranking of texts from any source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError, SetupError
from indexing.hits import Hits, LegHit
from indexing.inputs import known_options, number, shown, text, whole_number
from pipelines.search.results import SearchResult
from retrieve.reranking.base import FIRST_STAGE, RERANKER, check_reranker

if TYPE_CHECKING:
    from retrieve.reranking.base import CandidateReranker

RETRIEVAL = "retrieval"
"""Metadata key of a document's score, rank and provenance; the document's own fields are beside it."""

OWN_RETRIEVAL = "document_retrieval"
"""Metadata key of a document's own field that is called as `RETRIEVAL`."""

OPTIONS = ("explain", "budget", "refine", "tenant")
"""Options of `SearchPipeline.search` that an adapter passes on unchanged."""


def missing(error: ModuleNotFoundError, extra: str) -> SetupError:
    """Return the error for a framework that is not installed, which names the extra to install."""
    return SetupError(
        f"the module {error.name!r} is not installed: `pip install 'retrieve-rerank[{extra}]'` installs all that this "
        "adapter needs"
    )


def metadata_of(result: SearchResult) -> dict[str, Any]:
    """Return a document's title and fields, and under `RETRIEVAL` its id, score, rank and provenance."""
    values = result.as_dict()
    retrieval = {key: values[key] for key in ("doc_id", "score", "rank", "legs", "explanation") if key in values}
    title = {"title": result.title} if result.title else {}
    return {**title, **_with_own_field(result.metadata), RETRIEVAL: retrieval}


def _with_own_field(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in which a document's own field of the name `RETRIEVAL` is called `OWN_RETRIEVAL`."""
    fields = dict(metadata)
    if RETRIEVAL in fields:
        fields[OWN_RETRIEVAL] = fields.pop(RETRIEVAL)
    return fields


def score_of(metadata: Mapping[str, Any]) -> float | None:
    """Return the score that a retriever of this project recorded in the metadata; None for others' documents."""
    recorded = metadata.get(RETRIEVAL)
    score = recorded.get("score") if isinstance(recorded, Mapping) else None
    return None if isinstance(score, bool) or not isinstance(score, int | float) else score


def check_names(given: Mapping[str, Any], model: Any) -> None:
    """Raise an InputError for an argument that a pydantic model would ignore."""
    fields = model.model_fields
    known_options(given, [*fields, *(field.alias for field in fields.values() if field.alias)], model.__name__)


def check_reranking(values: dict[str, Any], model: Any) -> None:
    """Check the arguments of a pydantic model that has a `reranker` and a `top_n`; replace a number of NumPy's."""
    check_names(values, model)
    check_reranker(values.get("reranker"))
    if values.get("top_n") is not None:
        values["top_n"] = whole_number(values["top_n"], "top_n")


def check_pipeline(pipeline: Any) -> Any:
    """Return a pipeline; anything without a method ``search`` raises an InputError."""
    if isinstance(pipeline, type) or not callable(getattr(pipeline, "search", None)):
        raise InputError(f"pipeline must be an open SearchPipeline, not {shown(pipeline)}: SearchPipeline.open(PATH)")
    return pipeline


def contents_of(text: str, metadata: Mapping[str, Any]) -> str:
    """Return the text that a reranker reads, like `Document.contents`: title, a space, text."""
    title = metadata.get("title")
    return f"{title} {text}".strip() if isinstance(title, str) else text


@dataclass(frozen=True, slots=True)
class Reranked:
    """A text after reranking.

    Parameters
    ----------
    position
        Index among the texts passed in.
    rank, score
        New rank and score.
    first_stage
        Rank and score before.
    reranker
        The reranker's own rank and score.
    """

    position: int
    rank: int
    score: float
    first_stage: LegHit
    reranker: LegHit

    def added_to(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata with the new rank and score, and with both stages in the provenance."""
        before = metadata.get(RETRIEVAL)
        if not isinstance(before, Mapping):
            metadata, before = _with_own_field(metadata), {}
        known = before.get("legs")
        stages = {FIRST_STAGE: self.first_stage, RERANKER: self.reranker}
        legs = {name: {"rank": leg.rank, "score": leg.score} for name, leg in stages.items()}
        return {
            **metadata,
            RETRIEVAL: {
                **before,
                "score": self.score,
                "rank": self.rank,
                "legs": {**(known if isinstance(known, Mapping) else {}), **legs},
            },
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
        Texts for the reranker.
    scores
        First-stage scores, of which a reranker with a ``weight`` keeps a part. If any is None, the scores fall with
        the position by equal steps.
    top
        Number of texts to return; all by default.

    Raises
    ------
    InputError
        For a query or text that is not a string, a score that is no number, and `top` below 1.
    """
    text(query, "the query")
    top = len(texts) if top is None else whole_number(top, "top")
    for place, (content, score) in enumerate(zip(texts, scores, strict=True)):
        text(content, f"the text of document {place} (from 0)")
        if score is not None:
            number(score, f"the score of document {place} (from 0)")
    if not texts:
        return []
    known = [float(score) for score in scores if score is not None]
    if len(known) < len(texts):
        known = [float(len(texts) - position) for position in range(len(texts))]
    if callable(of_texts := getattr(reranker, "of_texts", None)):  # it looks vectors up by the ids of its collection
        reranker = of_texts()
    # Equal scores are ordered by id: ids of one width keep the order of the texts.
    ids = [f"{position:09d}" for position in range(len(texts))]
    hits = Hits.from_run({"": dict(zip(ids, known, strict=True))}, [""])[0]
    ranking = reranker.rerank(query, hits, dict(zip(ids, texts, strict=True)))
    return [
        Reranked(int(hit.doc_id), hit.rank, hit.score, hit.legs[FIRST_STAGE], hit.legs[RERANKER])
        for hit in ranking[:top]
    ]

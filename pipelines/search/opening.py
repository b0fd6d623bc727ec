"""Open the parts of a search system from a collection: retrievers of its legs, their fusion, and the reranker."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from indexing.collection.reader import Collection
from pipelines.models import LATE_INTERACTION, Models
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.fusing import make_fusion
from retrieve.fusion import Fusion
from retrieve.hybrid import HybridRetriever, OnLegError, leg_depths
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever, SparseRetriever, TokenRetriever

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.reranking.base import CandidateReranker


class Configured(Enum):
    """Type of `CONFIGURED`."""

    CONFIGURED = "as configured"


CONFIGURED: Final = Configured.CONFIGURED
"""Stands for what the collection's configuration says, where None means none."""

_RETRIEVERS: Mapping[str, Any] = {"vectors": DenseRetriever, "weights": SparseRetriever, "tokens": TokenRetriever}


class LegRetrievers:
    """Retrievers of a collection's legs by name, each opened once: an embedded Qdrant index can be opened only once.

    Parameters
    ----------
    collection
        The open collection.
    legs
        How legs are searched; the defaults for a leg that is missing here.
    models
        The loader of the query encoders.
    dense, sparse, multi_vector
        Query encoder of every leg of vectors, of term weights, and of token vectors, in place of the configured one.
    """

    def __init__(
        self,
        collection: Collection,
        legs: Mapping[str, LegConfig] | None = None,
        *,
        models: Models | None = None,
        dense: "str | Path | DenseEncoder | None" = None,
        sparse: "str | Path | SparseEncoder | None" = None,
        multi_vector: "str | Path | MultiVectorEncoder | None" = None,
    ) -> None:
        self.collection, self.models = collection, models or Models()
        self._legs, self._dense = legs or {}, dense
        self._given = {"vectors": dense, "weights": sparse, "tokens": multi_vector}
        self._opened: dict[str, Retriever] = {}

    def __getitem__(self, name: str) -> Retriever:
        """Return the retriever of this leg; errors as `SearchPipeline.open`."""
        if name not in self._opened:
            self._opened[name] = self._open(name, self._legs.get(name, LegConfig()))
        return self._opened[name]

    def reranker(self, config: RerankerConfig, retrievers: Sequence[Retriever]) -> "CandidateReranker":
        """Return a new reranker; late interaction uses the encoder of the first dense retriever, or dense leg."""
        encoder = None
        if config.model == LATE_INTERACTION:
            encoder = next((leg.encoder for leg in retrievers if isinstance(leg, DenseRetriever)), None)
            encoder = encoder or self._dense_encoder(config.dtype)
        return make_reranker(config, self.models, encoder)

    def _dense_encoder(self, dtype: str) -> Any:
        """Return the encoder of a dense leg that is not searched, or the given one; None when there is neither."""
        for name, leg in self.collection.manifest.legs.items():
            if leg.rows == "vectors":
                return self.models.leg_encoder(name, leg, self._dense, dtype)
        return None if self._dense is None else self.models.dense(self._dense, dtype)

    def _open(self, name: str, config: LegConfig) -> Retriever:
        leg = self.collection.leg(name)
        index = self.collection.index(name)
        if leg.rows == "text":
            return Bm25Retriever(index, name=name)
        given = self._given[leg.rows]
        encoder: Any = self.models.leg_encoder(name, leg, config.encoder if given is None else given, config.dtype)
        return _RETRIEVERS[leg.rows](encoder, index, name=name)


def make_reranker(config: RerankerConfig, models: Models, encoder: "DenseEncoder | None") -> "CandidateReranker":
    """Return a new reranker as configured; `encoder` is that of late interaction."""
    return models.reranker(
        config.model,
        encoder,
        weight=config.weight,
        passages=config.passages,
        overlap=config.overlap,
        dtype=config.dtype,
    )


def open_parts(
    legs: LegRetrievers, config: SearchConfig, fusion: Fusion | None, reranker: "CandidateReranker | None"
) -> "tuple[Retriever, CandidateReranker | None]":
    """Return the first stage and the reranker that a configuration describes.

    Parameters
    ----------
    legs
        The collection's legs; opened are those that the configuration names.
    fusion, reranker
        Loaded ones, in place of what the configuration names.
    """
    chosen = config.legs or {}
    retrievers = [legs[name] for name in chosen]
    if config.reranker is not None:
        reranker = legs.reranker(config.reranker, retrievers)
    fusion = fusion or make_fusion(config.fusion, retrievers)
    if len(retrievers) == 1:
        return retrievers[0], reranker
    depths = {name: leg.depth or config.depth for name, leg in chosen.items()}
    return HybridRetriever(retrievers, fusion=fusion, depth=depths, on_leg_error=config.on_leg_error), reranker


def with_arguments(
    config: SearchConfig,
    collection: Collection,
    *,
    legs: Sequence[str] | None,
    fusion: Mapping[str, Any] | None,
    depth: int | Mapping[str, int] | None,
    reranker: "str | CandidateReranker | Configured | None",
    candidates: int | None,
    budget: Budget | None,
    on_leg_error: OnLegError | None,
    workers: int | None,
    cache: int | None,
) -> SearchConfig:
    """Return the configuration with the arguments of `SearchPipeline.open` in place of what it says."""
    stated = config.legs or {}
    names = list(legs if legs is not None else stated or collection.manifest.legs)
    chosen = {name: stated.get(name, LegConfig()) for name in names}
    if depth is not None:
        depths = leg_depths(depth, names, config.depth)
        chosen = {name: replace(leg, depth=depths[name]) for name, leg in chosen.items()}
    plain: dict[str, Any] = {"fusion": fusion, "on_leg_error": on_leg_error, "workers": workers, "cache": cache}
    return replace(
        config,
        legs=chosen,
        reranker=_second_stage(config.reranker, reranker, candidates, budget),
        **{name: value for name, value in plain.items() if value is not None},
    )


def _second_stage(
    stated: RerankerConfig | None,
    given: "str | CandidateReranker | Configured | None",
    candidates: int | None,
    budget: Budget | None,
) -> RerankerConfig | None:
    """Return the reranker's configuration; None without a reranker, and for a loaded one."""
    if isinstance(given, str):
        stated = stated if stated is not None and stated.model == given else RerankerConfig(given)
    elif given is not CONFIGURED:
        return None
    if stated is not None and candidates is not None:
        stated = replace(stated, candidates=candidates)
    if stated is not None and budget is not None:
        stated = replace(stated, max_pairs=budget.max_pairs, max_ms=budget.max_ms, early_exit=budget.early_exit)
    return stated

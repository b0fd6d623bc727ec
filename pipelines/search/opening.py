"""From a collection and a configuration to the parts of a pipeline: encoders, retrievers, a reranker."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from indexing.collection.identity import check_identity
from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.errors import InputError, ModelError
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.fusing import make_fusion
from retrieve.fusion import Fusion
from retrieve.hybrid import HybridRetriever, OnLegError, leg_depths
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever, SparseRetriever

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder
    from retrieve.reranking.base import CandidateReranker

LATE_INTERACTION = "late-interaction"
"""The reranker that needs no weights of its own: MaxSim over the dense leg's token vectors."""


class Configured(Enum):
    """The type of `CONFIGURED`."""

    CONFIGURED = "as configured"


CONFIGURED: Final = Configured.CONFIGURED
"""Stands for what the collection's configuration says, where None says none."""


def open_parts(
    collection: Collection,
    config: SearchConfig,
    fusion: Fusion | None,
    reranker: "CandidateReranker | None",
    *,
    dense: "str | Path | DenseEncoder | None",
    sparse: "str | Path | SparseEncoder | None",
) -> "tuple[Retriever, CandidateReranker | None]":
    """Open the first stage and the reranker that a configuration names, each model once.

    Parameters
    ----------
    fusion, reranker
        Made already, instead of what the configuration names.
    dense, sparse
        For vectors and for term weights the encoder to use, loaded or by name, before what the legs say.
    """
    chosen = config.legs or {}
    given, loaded = {"vectors": dense, "weights": sparse}, dict[tuple[type, str, str], Any]()
    retrievers = [_retriever(collection, name, leg, given, loaded) for name, leg in chosen.items()]
    if config.reranker is not None:
        reranker = make_reranker(config.reranker, collection, retrievers, dense)
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
    """Put what `SearchPipeline.open` was given before what the configuration says."""
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
    """Give the reranker's configuration; None for none, and for one that was given loaded."""
    if isinstance(given, str):
        stated = stated if stated is not None and stated.model == given else RerankerConfig(given)
    elif given is not CONFIGURED:
        return None
    if stated is not None and candidates is not None:
        stated = replace(stated, candidates=candidates)
    if stated is not None and budget is not None:
        stated = replace(stated, max_pairs=budget.max_pairs, max_ms=budget.max_ms, early_exit=budget.early_exit)
    return stated


def make_reranker(
    config: RerankerConfig,
    collection: Collection,
    retrievers: Sequence[Retriever],
    dense: "str | Path | DenseEncoder | None",
) -> "CandidateReranker":
    """Make the reranker that a configuration names; `late-interaction` reads with the dense leg's encoder."""
    options: dict[str, Any] = {"passages": config.passages, "overlap": config.overlap}
    if config.weight is not None:
        options["weight"] = config.weight
    if config.model != LATE_INTERACTION:
        from retrieve.encoders import CrossEncoder
        from retrieve.reranking.cross_encoder import Reranker

        return Reranker(CrossEncoder(config.model, dtype=config.dtype), **options)
    from retrieve.reranking.late_interaction import LateInteractionReranker

    for retriever in retrievers:
        if isinstance(retriever, DenseRetriever):
            return LateInteractionReranker(retriever.encoder, **options)
    leg = next((leg for leg in collection.manifest.legs.values() if leg.rows == "vectors"), None)
    if dense is None and leg is None:
        raise InputError(
            "the late-interaction reranker reads token vectors of a dense encoder, and this collection has no dense "
            "leg: name an encoder (--dense MODEL), or a cross-encoder as the reranker"
        )
    from retrieve.encoders import DenseEncoder

    return LateInteractionReranker(_encoder(DenseEncoder, dense, leg, LATE_INTERACTION, config.dtype), **options)


def _retriever(
    collection: Collection,
    name: str,
    config: LegConfig,
    given: Mapping[str, Any],
    loaded: dict[tuple[type, str, str], Any],
) -> Retriever:
    leg = collection.leg(name)
    index = collection.index(name)
    if leg.rows == "text":
        return Bm25Retriever(index, name=name)
    from retrieve.encoders import DenseEncoder, SparseEncoder

    model = config.encoder if given.get(leg.rows) is None else given[leg.rows]
    if leg.rows == "vectors":
        return DenseRetriever(_encoder(DenseEncoder, model, leg, name, config.dtype, loaded), index, name=name)
    return SparseRetriever(_encoder(SparseEncoder, model, leg, name, config.dtype, loaded), index, name=name)


def _encoder(
    kind: type,
    given: Any,
    leg: Leg | None,
    name: str,
    dtype: str,
    loaded: dict[tuple[type, str, str], Any] | None = None,
) -> Any:
    """Give `given`, loaded if it is a name, else the encoder the leg records; refuse one of another identity."""
    recorded = dict(leg.encoder or {}) if leg is not None else {}
    asked = given if given is not None else recorded.get("name")
    if asked is None:
        raise ModelError(f"the manifest does not say which encoder the leg {name!r} was built with: name it")
    try:
        encoder = _loaded(kind, asked, dtype, loaded if loaded is not None else {})
    except ModelError as error:
        if given is not None:
            raise
        raise ModelError(
            f"the leg {name!r} was built with the encoder {asked!r}, which cannot be loaded now ({error}); "
            f"say where it is: SearchPipeline.open(..., dense=PATH) or `retrieve search --dense PATH`"
        ) from error
    if recorded:
        check_identity(recorded, encoder.identity, name)
    return encoder


def _loaded(kind: type, asked: Any, dtype: str, loaded: dict[tuple[type, str, str], Any]) -> Any:
    """Load an encoder by its name, once; give one that is loaded as it is."""
    if not isinstance(asked, str | Path):
        return asked
    key = kind, str(asked), dtype
    if key not in loaded:
        loaded[key] = kind(asked, dtype=dtype)
    return loaded[key]

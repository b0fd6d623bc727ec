"""Open the parts of a search system from a collection: retrievers of its legs, their fusion, and the reranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from indexing import inputs
from indexing.collection.manifest import Manifest
from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.errors import InputError
from indexing.inputs import local_path
from indexing.query_syntax import Synonyms
from indexing.resources import twin
from pipelines.models import DENSE_TOKENS, LATE_INTERACTION, Models
from pipelines.search.cache import AnswerCache
from pipelines.search.config import CANDIDATES, LegConfig, RerankerConfig, SearchConfig
from pipelines.search.following import Parts
from pipelines.search.fusing import make_fusion
from pipelines.search.tenants import declared_tenants
from retrieve.feedback import Bm25FeedbackRetriever, DenseFeedbackRetriever, feedback_of
from retrieve.fusion import Fusion
from retrieve.fusion.choice import fusion_config_of, fusion_of
from retrieve.hybrid import HybridRetriever, OnLegError, leg_depths
from retrieve.one_request import OneRequestRetriever, one_request
from retrieve.remote import is_url
from retrieve.reranking.base import check_reranker
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever, SparseRetriever, TokenRetriever

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.reranking.base import CandidateReranker
    from retrieve.reranking.stored_tokens import StoredTokenReranker


class Configured(Enum):
    """Type of `CONFIGURED`."""

    CONFIGURED = "as configured"


CONFIGURED: Final = Configured.CONFIGURED
"""Stands for what the collection's configuration says, where None means none."""

_RETRIEVERS: Mapping[str, Any] = {"vectors": DenseRetriever, "weights": SparseRetriever, "tokens": TokenRetriever}


def open_collection(where: str | Path, config: Any) -> tuple[Collection, Any]:
    """Open a collection for reading; return with it the configuration, which a deployed one stores.

    Parameters
    ----------
    where
        A directory, the folder of a deployed collection, or ``http://HOST:6333/NAME``.
    config
        The configuration in any form, in place of the stored one; None for that.
    """
    if not is_deployed(where):
        return Collection.open(where), config
    from indexing.deployment.reader import DeployedCollection

    deployed = DeployedCollection.open(where)
    try:
        return deployed, _stored_config(deployed.layout.search, where) if config is None else config
    except BaseException:
        deployed.close()
        raise


def stated_config(where: str | Path, config: Any) -> SearchConfig:
    """Return a configuration given in any form; for None, the one that is stored at `where`, as in `open_collection`.

    Raises
    ------
    InputError
        As `SearchConfig.load`.
    StorageError
        When no collection is deployed at a URL.
    """
    if config is not None or not is_deployed(where):
        return SearchConfig.of(config, where)
    from indexing.deployment.places import place_of

    layout = place_of(str(where)).published()
    return _stored_config({} if layout is None else layout.search, where)


def _stored_config(search: Mapping[str, Any], where: str | Path) -> SearchConfig:
    return SearchConfig.load(dict(search), f"the configuration stored in {where}")


def is_deployed(where: str | Path) -> bool:
    """Return whether this names a deployed collection: a URL, or the folder of one."""
    return str(where).startswith(("http://", "https://")) or (local_path(where, "where") / "deployment.json").is_file()


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
        collection: Collection | Snapshot,
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
        """Return a new reranker.

        Late interaction reads the first leg of token vectors, unless it cuts documents into passages. Without such a
        leg it encodes candidates with the encoder of the first dense retriever, or dense leg.
        """
        encoder = None
        if config.model == LATE_INTERACTION:
            tokens = stored_tokens(config, self.collection.manifest)
            if tokens is not None:
                mean = self.collection.leg(tokens).parameters.get("metric") == "meanmaxsim"
                reranker = stored_reranker(config, self[tokens], mean=mean)
                share_queries(retrievers, reranker)
                return reranker
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
        feedback: Any = None if config.feedback is None else feedback_of(config.feedback, leg.rows, name)
        if leg.rows == "text":
            if feedback is None:
                words = Bm25Retriever(index, name=name)
                if leg.parameters.get("similarity", "bm25") != "bm25":
                    words.score_kind = "other"
                return words
            return Bm25FeedbackRetriever(index, self.collection.documents.contents, feedback, name=name)
        given = self._given[leg.rows]
        if given is None and (leg.encoder or {}).get("kind") == DENSE_TOKENS:
            given = self._dense
        encoder: Any = self.models.leg_encoder(name, leg, config.encoder if given is None else given, config.dtype)
        if feedback is not None:
            return DenseFeedbackRetriever(encoder, index, feedback, name=name)
        return _RETRIEVERS[leg.rows](encoder, index, name=name)


def searched_legs(manifest: Manifest) -> list[str]:
    """Return the legs that are searched unless others are named: all but the token vectors of a dense encoder.

    These order candidates for the late-interaction reranker, and find worse than the encoder's own vectors.
    """
    return [name for name, leg in manifest.legs.items() if (leg.encoder or {}).get("kind") != DENSE_TOKENS]


def stored_tokens(config: RerankerConfig, manifest: Manifest) -> str | None:
    """Return the leg whose token vectors a reranker reads; None for one that reads texts."""
    if config.model != LATE_INTERACTION or config.passages not in (None, "first"):
        return None
    return manifest.first_leg("tokens")


def stored_reranker(config: RerankerConfig, leg: Any, *, mean: bool) -> "StoredTokenReranker":
    """Return a new late-interaction reranker over the token vectors of a leg, `mean` if its scores are means."""
    from retrieve.reranking.stored_tokens import StoredTokenReranker

    options = {} if config.weight is None else {"weight": config.weight}
    return StoredTokenReranker(leg.encoder, leg.index, mean=mean, **options)


def share_queries(retrievers: Sequence[Retriever], reranker: "StoredTokenReranker") -> None:
    """Let a leg with the reranker's encoder keep the token vectors of the queries that it encodes."""
    from retrieve.encoders.dense_tokens import shares_pass

    tokens = reranker.token_encoder
    for leg in retrievers:
        same = leg.encoder is tokens if isinstance(leg, TokenRetriever) else shares_pass(leg.encoder, tokens, "query")
        if isinstance(leg, DenseRetriever | TokenRetriever) and same:
            of_tokens = isinstance(leg, TokenRetriever)
            leg.keep_tokens = reranker.keep_queries if of_tokens else reranker.keep_dense_queries
            return


def make_reranker(config: RerankerConfig, models: Models, encoder: "DenseEncoder | None") -> "CandidateReranker":
    """Return a new reranker as configured; `encoder` is that of late interaction."""
    return models.reranker(
        config.model,
        encoder,
        weight=config.weight,
        passages=config.passages,
        overlap=config.overlap,
        dtype=config.dtype,
        fingerprint=config.fingerprint,
    )


def with_fingerprint(config: RerankerConfig | None, reranker: Any) -> RerankerConfig | None:
    """Return the configuration of a reranker with its fingerprint, if it is behind a URL."""
    if config is None or reranker is None or not is_url(config.model):
        return config
    return replace(config, fingerprint=reranker.identity["fingerprint"])


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of `SearchPipeline.open`; those that are not None override the configuration."""

    legs: Sequence[str] | None
    fusion: Fusion | Mapping[str, Any] | str | None
    depth: int | Mapping[str, int] | None
    dense: "str | Path | DenseEncoder | None"
    sparse: "str | Path | SparseEncoder | None"
    multi_vector: "str | Path | MultiVectorEncoder | None"
    reranker: "str | CandidateReranker | Configured | None"
    candidates: int | None
    budget: Budget | None
    on_leg_error: OnLegError | None
    workers: int | None
    cache: int | None
    models: Models

    def __post_init__(self) -> None:
        if self.legs is not None:
            object.__setattr__(self, "legs", inputs.names(self.legs, "legs"))
        if isinstance(self.fusion, str):
            object.__setattr__(self, "fusion", fusion_config_of(self.fusion))
        elif self.fusion is not None and not isinstance(self.fusion, Mapping):
            fusion_of(self.fusion)
        if isinstance(self.reranker, Path):
            object.__setattr__(self, "reranker", str(self.reranker))
        if not (self.reranker is None or isinstance(self.reranker, str | Configured)):
            check_reranker(self.reranker)
        if self.on_leg_error not in (None, *get_args(OnLegError)):
            raise InputError(f"on_leg_error must be 'raise' or 'degrade', not {inputs.shown(self.on_leg_error)}")
        if not isinstance(self.budget, Budget | None):
            raise InputError(f"budget must be a Budget or None, not {inputs.shown(self.budget)}")
        for name, least in (("candidates", 1), ("workers", 1), ("cache", 0)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, inputs.whole_number(value, name, least=least))

    def parts(self, snapshot: Snapshot, stated: SearchConfig) -> Parts:
        """Open everything that searches one state of a collection; what it holds is closed with the snapshot."""
        config = self.over(stated, snapshot)
        legs = LegRetrievers(
            snapshot,
            config.legs,
            models=self.models,
            dense=self.dense,
            sparse=self.sparse,
            multi_vector=self.multi_vector,
        )
        retrievers = [legs[name] for name in config.legs or {}]
        retriever = first_stage(retrievers, config, None if isinstance(self.fusion, Mapping) else self.fusion)
        snapshot.closing.callback(retriever.close)
        if config.reranker is None:
            given = None if isinstance(self.reranker, str | Configured) else self.reranker
            candidates, budget = CANDIDATES, Budget()
        else:
            given = legs.reranker(config.reranker, retrievers)
            candidates, budget = config.reranker.candidates, config.reranker.budget
        return Parts(
            retriever,
            given,
            self.candidates or candidates,
            self.budget or budget,
            AnswerCache(config.cache),
            config,
            legs.__getitem__,
            lambda reranker: legs.reranker(reranker, retrievers),
            synonyms=None if config.synonyms is None else Synonyms.load(snapshot.path / config.synonyms),
        )

    def over(self, config: SearchConfig, collection: Snapshot) -> SearchConfig:
        """Return the configuration with these arguments in place of what it says."""
        stated = config.legs or {}
        names = list(self.legs if self.legs is not None else stated or searched_legs(collection.manifest))
        legs = {name: stated.get(name, LegConfig()) for name in names}
        if self.depth is not None:
            depths = leg_depths(self.depth, names, config.depth)
            legs = {name: replace(leg, depth=depths[name]) for name, leg in legs.items()}
        plain: dict[str, Any] = {
            "fusion": self._named_fusion,
            "on_leg_error": self.on_leg_error,
            "workers": self.workers,
            "cache": self.cache,
            "tenants": declared_tenants(config, collection),
        }
        return replace(
            config,
            legs=legs,
            reranker=_second_stage(config.reranker, self.reranker, self.candidates, self.budget),
            **{name: value for name, value in plain.items() if value is not None},
        )

    @property
    def _named_fusion(self) -> Mapping[str, Any] | None:
        return self.fusion if isinstance(self.fusion, Mapping) else None


def first_stage(retrievers: Sequence[Retriever], config: SearchConfig, fusion: Any = None) -> Retriever:
    """Return the first stage over the retrievers of a configuration's legs, in their order.

    Parameters
    ----------
    fusion
        A fusion or its name, in place of the configuration's.
    """
    fusion = fusion or make_fusion(config.fusion, retrievers)
    if len(retrievers) == 1:
        # Nothing is fused, so marks would have no reader.
        only = twin(retrievers[0])
        only.marks = False
        return only
    depths = {name: leg.depth or config.depth for name, leg in (config.legs or {}).items()}
    kind = OneRequestRetriever if one_request(retrievers) else HybridRetriever
    return kind(retrievers, fusion=fusion, depth=depths, on_leg_error=config.on_leg_error)


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

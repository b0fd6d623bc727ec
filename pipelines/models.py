"""Models: the one place that loads encoders and rerankers, each checkpoint once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection.identity import check_identity
from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import Leg, read_manifest
from indexing.errors import InputError, ModelError
from retrieve.protocols import check_encoder
from retrieve.remote import is_url, with_model

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder, DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.encoders.dense_tokens import DenseTokens
    from retrieve.reranking.base import CandidateReranker
    from retrieve.reranking.passages import Passages

LATE_INTERACTION = "late-interaction"
"""Name of the reranker without weights of its own: MaxSim over a dense encoder's token vectors."""

DENSE_TOKENS = "dense-tokens"
"""`kind` of the identity of `DenseTokens`."""
OPTIONS: Mapping[str, str] = {"vectors": "dense", "weights": "sparse", "tokens": "multi_vector"}
"""The option that names the encoder of a leg, by the leg's rows; also the method of `Models` that loads it."""


class Models:
    """Encoders and cross-encoders, each loaded on first use and then shared.

    Each method takes a path or a Hub name, or a loaded model, which it returns as it is.
    """

    def __init__(self) -> None:
        self._loaded: dict[tuple[type, str, str], Any] = {}
        self._options: Mapping[str, Any] = {}

    def dense(self, model: "str | Path | DenseEncoder | None" = None, dtype: str = "auto") -> "DenseEncoder":
        """Return a dense encoder; for None, the default one."""
        from retrieve.default_models import default_dense_model
        from retrieve.encoders import DenseEncoder

        if is_url(model):
            from retrieve.remote import RemoteEncoder

            return self._remote(RemoteEncoder, model)
        return self._once(DenseEncoder, default_dense_model() if model is None else model, dtype)

    def sparse(self, model: "str | Path | SparseEncoder", dtype: str = "auto") -> "SparseEncoder":
        """Return a SPLADE encoder."""
        from retrieve.encoders import SparseEncoder

        if is_url(model):
            from retrieve.remote import RemoteSparseEncoder

            return self._remote(RemoteSparseEncoder, model)
        return self._once(SparseEncoder, model, dtype)

    def multi_vector(self, model: "str | Path | MultiVectorEncoder", dtype: str = "auto") -> "MultiVectorEncoder":
        """Return a late-interaction encoder."""
        from retrieve.encoders import MultiVectorEncoder

        return self._once(MultiVectorEncoder, model, dtype)

    def dense_tokens(
        self,
        model: "str | Path | DenseEncoder | DenseTokens",
        dtype: str = "auto",
        recorded: Mapping[str, Any] | None = None,
    ) -> "DenseTokens":
        """Return the encoder of a dense encoder's token vectors, reduced as a `recorded` identity says."""
        from retrieve.encoders.dense_tokens import DenseTokens

        if isinstance(model, DenseTokens):
            return model
        return DenseTokens.recorded(self.dense(model, dtype), recorded or {})

    def cross_encoder(self, model: "str | Path | CrossEncoder", dtype: str = "auto") -> "CrossEncoder":
        """Return a cross-encoder."""
        from retrieve.encoders import CrossEncoder

        return self._once(CrossEncoder, model, dtype)

    def _remote(self, kind: type, url: Any) -> Any:
        """Return an encoder behind a URL, which is asked for its identity once."""
        if self._options.get("local_files_only"):
            raise ModelError("it is behind a URL")
        if (kind, url, "") not in self._loaded:
            self._loaded[kind, url, ""] = kind(url)
        return self._loaded[kind, url, ""]

    @property
    def _local(self) -> "Models":
        """The same models, for which the network is not used."""
        local = Models()
        local._loaded, local._options = self._loaded, {"local_files_only": True}
        return local

    def leg_encoder(self, name: str, leg: Leg, given: Any = None, dtype: str = "auto") -> DocumentEncoder:
        """Return the encoder of a collection's leg: the given one, or the one that the manifest names.

        A given one may be fetched from the Hub. One that only the manifest names is not: a collection may come from
        anywhere.

        Raises
        ------
        ModelError
            When the manifest names none, it cannot be loaded, or it is not the encoder that the leg was built with.
        """
        option = OPTIONS[leg.rows]
        recorded = dict(leg.encoder or {})
        model = recorded.get("name") if given is None else given
        if model is None or (given is None and not isinstance(model, str)):
            raise ModelError(
                f"the manifest does not say which encoder the leg {name!r} was built with: name it ({_named(option)})"
            )
        if str(recorded.get("kind")).startswith("remote-"):
            model = _remote_model(name, recorded, given)
        encoder: Any = model
        if not isinstance(model, str | Path):
            check_encoder(model, option, option, ("identity",))
        of_dense = recorded.get("kind") == DENSE_TOKENS
        try:
            models = self if given is not None else self._local
            if isinstance(model, str | Path) and not is_url(model) and (of_dense or option == "dense"):
                # A model that was truncated for the build is truncated again.
                whole = models.dense(model, dtype)
                width = int(recorded.get("dimension", whole.dimension))
                model = whole.truncated(width) if width < whole.dimension else whole
            if of_dense:
                encoder = models.dense_tokens(model, dtype, recorded)
            else:
                encoder = getattr(models, option)(model, dtype)
                if option == "multi_vector" and isinstance(model, str | Path) and "pool_factor" in recorded:
                    encoder = encoder.pooled(recorded["pool_factor"])
        except ModelError as error:
            if given is not None:
                raise
            raise ModelError(
                f"the leg {name!r} was built with the encoder {model!r}, which cannot be loaded now ({error}). "
                f"Opening a collection fetches no model: say where it is, or name it to fetch it: {_named(option)}"
            ) from error
        if recorded:
            check_identity(recorded, encoder.identity, name)
        return encoder

    def reranker(
        self,
        model: "str | Path",
        encoder: "DenseEncoder | MultiVectorEncoder | None" = None,
        *,
        weight: float | None = None,
        passages: "Passages | None" = None,
        overlap: int = 32,
        dtype: str = "auto",
        fingerprint: Sequence[float] | None = None,
    ) -> "CandidateReranker":
        """Return a new reranker of a shared model, so that no system profits from another's cache of token vectors.

        Parameters
        ----------
        model
            Path, Hub name or URL of a cross-encoder, or ``late-interaction``.
        encoder
            The dense or multi-vector encoder of late interaction.
        weight, passages, overlap
            See `CandidateReranker`; by default the reranker's own weight and reading of long documents.
        fingerprint
            As for `RemoteReranker`; of a model behind a URL only.

        Raises
        ------
        InputError
            For late interaction without an encoder.
        """
        options: dict[str, Any] = {"weight": weight, "passages": passages, "overlap": overlap}
        options = {name: value for name, value in options.items() if value is not None}
        if fingerprint is not None and not is_url(model):
            raise InputError(f"a fingerprint is for a reranker behind a URL, and {model} is none: leave it out")
        if is_url(model):
            from retrieve.reranking.remote import RemoteReranker

            if passages not in (None, "first"):
                raise InputError("a reranker behind a URL reads documents whole: leave out passages, or state 'first'")
            return RemoteReranker(str(model), weight=weight or 0.0, fingerprint=fingerprint)
        if model != LATE_INTERACTION:
            from retrieve.reranking.cross_encoder import Reranker

            return Reranker(self.cross_encoder(model, dtype), **options)
        from retrieve.reranking.late_interaction import LateInteractionReranker

        if encoder is None:
            raise InputError(
                "the late-interaction reranker reads token vectors of a dense encoder, and there is no dense leg: "
                "name an encoder, dense=PATH (--dense PATH on the command line), or a cross-encoder as the reranker"
            )
        return LateInteractionReranker(encoder, **options)

    def _once(self, kind: type, model: Any, dtype: str) -> Any:
        if not isinstance(model, str | Path):
            return model
        key = kind, str(model), dtype
        if key not in self._loaded:
            self._loaded[key] = kind(model, dtype=dtype, **self._options)
        return self._loaded[key]


def collection_encoders(
    path: str | Path, *, dense: Any = None, sparse: Any = None, multi_vector: Any = None, dtype: str = "auto"
) -> dict[str, DocumentEncoder]:
    """Load the encoder of each leg of a collection that has one.

    Parameters
    ----------
    path
        The collection.
    dense, sparse, multi_vector
        An encoder of this kind, loaded or by path or name, in place of the one that the manifest names.
    dtype
        Precision in which the encoders compute.

    Raises
    ------
    ModelError
        See `Models.leg_encoder`.
    """
    models, given = Models(), {"dense": dense, "sparse": sparse, "multi_vector": multi_vector}
    return {
        name: models.leg_encoder(name, leg, given[OPTIONS[leg.rows]], dtype)
        for name, leg in read_manifest(Path(path)).legs.items()
        if leg.encoder is not None
    }


def _remote_model(name: str, recorded: Mapping[str, Any], given: Any) -> Any:
    """Return the given encoder or URL of a leg that a remote model made, with the recorded name of the model.

    Raises
    ------
    ModelError
        When none is given: a collection may come from anywhere, and no text is sent to a server that only it names.
    """
    if given is None:
        url, model = recorded.get("url"), recorded.get("model")
        raise ModelError(
            f"the leg {name!r} was built with the model {model!r} at {url}. Opening a collection calls no server: name "
            f"it to call it: dense={url!r} (--dense {url}; sparse likewise)"
        )
    if is_url(given) and "#" not in given:
        return with_model(given, str(recorded.get("model") or "") or None)
    return given


def _named(option: str) -> str:
    command_line = {"dense": "--dense PATH on the command line, ", "sparse": "--sparse PATH on the command line, "}
    return f"{command_line.get(option, '')}{option}=PATH in Python"

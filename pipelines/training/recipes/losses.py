"""Choose the loss of a run: by name, or by the kind of model and the columns of the data."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.training import losses as embedding_losses
from pipelines.training.losses import cross as score_losses
from pipelines.training.losses import multi_vector as token_losses
from pipelines.training.recipes.inference_free import is_inference_free
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

if TYPE_CHECKING:
    from torch import nn

_ADDED = {"FlopsLoss", "GlobalOrthogonalRegularizationLoss"}
"""Regularizers, from which alone no model learns to rank."""
_DENSE_ONLY = {
    "AnglELoss",
    "CoSENTLoss",
    "ContrastiveTensionLoss",
    "ContrastiveTensionLossInBatchNegatives",
    "DenoisingAutoEncoderLoss",
    "EmbedDistillLoss",
    "MegaBatchMarginLoss",
    "SoftmaxLoss",
}
AUTOENCODER_LOSSES = {"CSRLoss", "CSRReconstructionLoss"}
_WRAPPERS = {"AdaptiveLayerLoss", "CachedLoss", "CachedSpladeLoss", "Matryoshka2dLoss", "MatryoshkaLoss", "SpladeLoss"}
BATCH, LARGE_BATCH = 32, 128
MIN_STEPS = 20
"""Steps of an epoch that justify large batches; with fewer rows, batches are smaller."""
MULTI_VECTOR = "MultiVector"
"""Prefix of the names of losses of multi-vector encoders, which `class_name` does not need."""
_MEAN_SCALE = 32.0
"""Scale of the mean of MaxSim, about that of MaxSim itself: the number of a query's tokens."""
_DOT_PRODUCT = {"similarity": "dot", "scale": 1.0}


def loss_names(kind: Kind) -> list[str]:
    """Return the names of the losses available for a kind of model."""
    excluded = _WRAPPERS | _ADDED | (_DENSE_ONLY if kind == "sparse" else AUTOENCODER_LOSSES)
    return [name for name in _losses_of(kind).__all__ if "Loss" in name and name not in excluded]


def default_loss(kind: Kind, rows: Any) -> str:
    """Choose a loss by the columns.

    Without a label, multiple negatives ranking. With one number per pair, CoSENT for dense vectors, cosine similarity
    for sparse ones, binary cross-entropy for rerankers. With a list of numbers, MarginMSE for a teacher's scores of
    (query, positive, negative …), LambdaLoss for (query, list of documents).

    Raises
    ------
    InputError
        If no loss fits.
    """
    columns, first = roles(rows.column_names), rows[0]
    label = None if columns.label is None else first[columns.label]
    prefix = MULTI_VECTOR if kind == "multi-vector" else ""
    if columns.label is None and len(columns.inputs) > 1:
        return f"{prefix}MultipleNegativesRankingLoss"
    if isinstance(label, list):
        return "LambdaLoss" if kind == "reranker" and len(columns.inputs) == 2 else f"{prefix}MarginMSELoss"
    if len(columns.inputs) == 2 and label is not None and kind != "multi-vector":
        return {"dense": "CoSENTLoss", "sparse": "CosineSimilarityLoss", "reranker": "BinaryCrossEntropyLoss"}[kind]
    if len(columns.inputs) == 3 and label is not None:
        return f"{prefix}MarginMSELoss"
    raise InputError(
        f"cannot infer a loss from the columns {', '.join(rows.column_names)}; choose one as loss (--loss) "
        f"({', '.join(loss_names(kind))})"
    )


def batch_size_of(kind: Kind, settings: TrainSettings, rows: Any) -> int:
    """Return the batch size of the settings, or a default for the model and the columns.

    If the other rows of a batch serve as negatives, dense and multi-vector encoders learn more from large batches.
    """
    if settings.batch_size:
        return settings.batch_size
    columns = roles(rows.column_names)
    if kind == "reranker" and (len(columns.inputs) > 2 or isinstance(rows[0][columns.inputs[-1]], list)):
        return 8  # A row has several query-document pairs.
    uses_in_batch_negatives = kind in ("dense", "multi-vector") and columns.label is None and len(columns.inputs) > 1
    is_large = uses_in_batch_negatives and not settings.loss and len(rows) >= MIN_STEPS * LARGE_BATCH
    return LARGE_BATCH if is_large else BATCH


def make_loss(kind: Kind, settings: TrainSettings, encoder: Any, rows: Any) -> "nn.Module":
    """Return the loss of a run; losses of sparse encoders use the dot product and SPLADE's regularizers.

    The default loss of batches of more than `BATCH` rows uses gradient caching: any batch takes the memory of 32 rows.

    Raises
    ------
    InputError
        If this kind of model has no loss of this name, or the loss has no such option.
    """
    name = class_name(kind, settings.loss) if settings.loss else default_loss(kind, rows)
    is_autoencoder = kind == "sparse" and has_autoencoder(encoder)
    if not settings.loss and name.endswith("MultipleNegativesRankingLoss"):
        if is_autoencoder:
            name = "CSRLoss"
        elif kind in ("dense", "multi-vector") and batch_size_of(kind, settings, rows) > BATCH:
            name = f"Cached{name}"
    if name in AUTOENCODER_LOSSES and not is_autoencoder:
        raise InputError(
            f"{name} trains a sparse autoencoder, and {encoder.checkpoint.name} has none: choose another loss"
        )
    options = _checked_options(kind, name, settings.loss_options)
    if kind == "multi-vector":
        options = _token_options(encoder, options, has_scale="MultipleNegatives" in name)
    loss = getattr(_losses_of(kind), name)(encoder, **options)
    if name in AUTOENCODER_LOSSES:
        return loss
    if kind == "sparse":
        # Inference-free queries have a fixed weight per term, which a query regularizer would only scale.
        query_weight = None if is_inference_free(encoder) else settings.query_weight
        return embedding_losses.SpladeLoss(encoder, loss, settings.document_weight, query_weight)
    if settings.matryoshka:
        if kind != "dense":
            raise InputError("matryoshka widths are for dense encoders")
        return embedding_losses.MatryoshkaLoss(encoder, loss, settings.matryoshka)
    return loss


def has_autoencoder(encoder: Any) -> bool:
    """Return whether a sparse encoder ends in a sparse autoencoder."""
    from retrieve.encoders.modules.sparse_auto_encoder import SparseAutoEncoder

    return isinstance(encoder.modules[-1], SparseAutoEncoder)


def class_name(kind: Kind, loss: str) -> str:
    """Return the class name of a loss; case, dashes, underscores, "MultiVector" and the suffix "Loss" are ignored.

    Raises
    ------
    InputError
        If this kind of model has no such loss.
    """
    known = {_short(name): name for name in loss_names(kind)}
    key = _short(loss)
    if key not in known:
        raise InputError(f"there is no loss {loss!r} for this kind of model: there are {', '.join(known.values())}")
    return known[key]


def _short(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").removesuffix("loss").replace(MULTI_VECTOR.lower(), "")


def _losses_of(kind: Kind) -> Any:
    return {"reranker": score_losses, "multi-vector": token_losses}.get(kind, embedding_losses)


def _token_options(encoder: Any, options: dict[str, Any], *, has_scale: bool) -> dict[str, Any]:
    """Return options with the score that a multi-vector encoder was made for, unless another is chosen."""
    chosen = {"similarity_fct": encoder.similarity_fn_name} | options
    if has_scale and chosen["similarity_fct"] == "meanmaxsim":
        chosen = {"scale": _MEAN_SCALE} | chosen
    return chosen


def _checked_options(kind: Kind, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _parameters(getattr(_losses_of(kind), name))
    if name.startswith("Cached"):
        parameters |= _parameters(getattr(_losses_of(kind), name.removeprefix("Cached")))
    # Dot products are larger than cosines: with the scale for cosines the softmax would be a hard maximum.
    defaults = {key: value for key, value in _DOT_PRODUCT.items() if key in parameters} if kind == "sparse" else {}
    checked: dict[str, Any] = defaults | dict(options)
    if unknown := [option for option in checked if option not in parameters]:
        raise InputError(f"{name} has no option {unknown[0]!r}: it has {', '.join(sorted(parameters)) or 'none'}")
    if "guide" in checked:
        from retrieve.encoders import DenseEncoder

        checked["guide"] = DenseEncoder(checked["guide"], dtype="float32")
    return checked


def _parameters(loss_class: Any) -> set[str]:
    """Return the names of a loss's arguments, including those of its base classes."""
    names: set[str] = set()
    for base in loss_class.__mro__:
        if "__init__" in vars(base) and base.__module__.startswith("pipelines."):
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    return names - {"self", "model", "loss"}

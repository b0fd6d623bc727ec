"""Which loss: by its name, or by the kind of model and the columns of the data."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.training import losses as of_embeddings
from pipelines.training.losses import cross as of_scores
from pipelines.training.recipes.inference_free import is_inference_free
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

if TYPE_CHECKING:
    from torch import nn

_WRAPPERS = {"AdaptiveLayerLoss", "CachedLoss", "CachedSpladeLoss", "Matryoshka2dLoss", "MatryoshkaLoss", "SpladeLoss"}
BATCH, LARGE_BATCH = 32, 128
ENOUGH_STEPS = 20
"""That an epoch should have: fewer rows than these take are dealt in smaller batches."""
_BY_DOT = {"similarity": "dot", "scale": 1.0}


def loss_names(kind: Kind) -> list[str]:
    """Give the losses that a kind of model can be trained with by name."""
    home = of_scores if kind == "reranker" else of_embeddings
    unfit = _WRAPPERS | ({"AnglELoss", "CoSENTLoss"} if kind == "sparse" else {"CSRLoss"})
    return [name for name in home.__all__ if name not in unfit]


def default_loss(kind: Kind, rows: Any) -> str:
    """Choose a loss by the columns.

    Texts alone: multiple negatives ranking. A number for each pair: CoSENT of dense vectors, cosine similarity of
    sparse ones, cross-entropy of a reranker. A list of numbers: of a teacher's scores for (query, positive, negative
    …), MarginMSE; for (query, list of documents), LambdaLoss.

    Raises
    ------
    InputError
        When nothing fits.
    """
    found, first = roles(rows.column_names), rows[0]
    label = None if found.label is None else first[found.label]
    if found.label is None and len(found.inputs) > 1:
        return "MultipleNegativesRankingLoss"
    if isinstance(label, list):
        if kind == "reranker" and len(found.inputs) == 2:
            return "LambdaLoss"
        return "MarginMSELoss"
    if len(found.inputs) == 2 and label is not None:
        return {"dense": "CoSENTLoss", "sparse": "CosineSimilarityLoss", "reranker": "BinaryCrossEntropyLoss"}[kind]
    if len(found.inputs) == 3 and label is not None:
        return "MarginMSELoss"
    raise InputError(
        f"no loss goes without saying with the columns {', '.join(rows.column_names)}: name one with --loss "
        f"({', '.join(loss_names(kind))})"
    )


def rows_a_step(kind: Kind, settings: TrainSettings, rows: Any) -> int:
    """Give the batch size: what the settings say, or what suits the model and the columns.

    Where the other rows of a batch are negatives, a dense encoder learns more from large batches.
    """
    if settings.batch_size:
        return settings.batch_size
    found = roles(rows.column_names)
    if kind == "reranker" and (len(found.inputs) > 2 or isinstance(rows[0][found.inputs[-1]], list)):
        return 8  # It reads every document of a row beside the query.
    ranks = kind == "dense" and found.label is None and len(found.inputs) > 1 and not settings.loss
    return LARGE_BATCH if ranks and len(rows) >= ENOUGH_STEPS * LARGE_BATCH else BATCH


def make_loss(kind: Kind, settings: TrainSettings, encoder: Any, rows: Any) -> "nn.Module":
    """Make the loss of a run; that of sparse encoders by dot product and with the price of their terms.

    Multiple negatives in batches of more than `BATCH` rows are computed a part at a time, with the same gradient: a
    batch of any size takes the memory of 32 rows.

    Raises
    ------
    InputError
        For a name that is no loss of this kind of model, or an option that it does not have.
    """
    name = class_name(kind, settings.loss) if settings.loss else default_loss(kind, rows)
    decodes = kind == "sparse" and has_autoencoder(encoder)
    if decodes and not settings.loss and name == "MultipleNegativesRankingLoss":
        name = "CSRLoss"
    ranks = kind == "dense" and not settings.loss and name == "MultipleNegativesRankingLoss"
    if ranks and rows_a_step(kind, settings, rows) > BATCH:
        name = f"Cached{name}"
    if name == "CSRLoss" and not decodes:
        raise InputError(
            f"CSRLoss trains a sparse autoencoder, and {encoder.checkpoint.name} has none: name another loss"
        )
    home: Any = of_scores if kind == "reranker" else of_embeddings
    chosen = getattr(home, name)
    options = dict(settings.loss_options)
    taken = _parameters(chosen) | (_parameters(getattr(home, name[6:])) if name.startswith("Cached") else set())
    if kind == "sparse":
        # With the scale that cosines need, dot products would make a hard maximum.
        options = {key: value for key, value in _BY_DOT.items() if key in taken} | options
    _check(name, options, taken)
    if "guide" in options:
        from retrieve.encoders import DenseEncoder

        options["guide"] = DenseEncoder(options["guide"], dtype="float32")
    loss = chosen(encoder, **options)
    if name == "CSRLoss":
        return loss
    if kind == "sparse":
        # The price of a query's terms would only scale weights that stand for each term once and for all.
        query_weight = None if is_inference_free(encoder) else settings.query_weight
        return of_embeddings.SpladeLoss(encoder, loss, settings.document_weight, query_weight)
    if settings.matryoshka:
        if kind != "dense":
            raise InputError("matryoshka widths are for dense encoders")
        return of_embeddings.MatryoshkaLoss(encoder, loss, settings.matryoshka)
    return loss


def has_autoencoder(encoder: Any) -> bool:
    """Tell whether a sparse encoder ends in a sparse autoencoder."""
    from retrieve.encoders.modules.sparse_auto_encoder import SparseAutoEncoder

    return isinstance(encoder.modules[-1], SparseAutoEncoder)


def class_name(kind: Kind, given: str) -> str:
    """Give the class of a loss that was named in any case, with dashes or without, with "Loss" or without.

    Raises
    ------
    InputError
        When there is none of this kind of model.
    """
    known = {name.lower().removesuffix("loss"): name for name in loss_names(kind)}
    asked = given.lower().replace("-", "").replace("_", "").removesuffix("loss")
    if asked not in known:
        raise InputError(f"there is no loss {given!r} for this kind of model: there are {', '.join(known.values())}")
    return known[asked]


def _parameters(chosen: Any) -> set[str]:
    """Name the arguments of a class; those that it hands on to another are that other's."""
    taken: set[str] = set()
    for of_one in chosen.__mro__:
        if "__init__" in vars(of_one) and of_one.__module__.startswith("pipelines."):
            named = inspect.signature(of_one.__init__).parameters.values()
            taken |= {one.name for one in named if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    return taken - {"self", "model", "loss"}


def _check(name: str, options: Mapping[str, Any], taken: set[str]) -> None:
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise InputError(f"{name} has no option {unknown[0]!r}: it has {', '.join(sorted(taken)) or 'none'}")

"""Load the initial model of a training run: a checkpoint, or a model built from one."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from indexing.errors import InputError
from pipelines.training.recipes import mlm_head, projection, rotation
from pipelines.training.recipes.autoencoder import write_autoencoder
from pipelines.training.recipes.classification_head import is_cross_encoder, write_cross_encoder
from pipelines.training.recipes.inference_free import TEXTS_COUNTED, is_inference_free, write_inference_free_encoder
from pipelines.training.recipes.lora import add_lora, lora_options
from pipelines.training.recipes.losses import AUTOENCODER_LOSSES, class_name
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

_SPARSE_MODULES = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding"}


def load_initial_model(kind: Kind, settings: TrainSettings, rows: Any, folder: Path) -> Any:
    """Load the model to train, in float32; if it has to be built first, write it to `folder`.

    For a reranker, an encoder gets a new classification head. For a sparse encoder, a dense encoder gets a
    masked-language-model head, or with `CSRLoss` a sparse autoencoder; with `inference_free`, queries get weights of
    their own. For a multi-vector encoder, a dense encoder gets a projection of its token vectors: see
    `projection.write_multi_vector_encoder`. A dense encoder with Matryoshka widths gets a layer that rotates its
    vectors: see `rotation.write_rotated_encoder`.

    Parameters
    ----------
    rows
        The training data; its last input column holds documents.

    Raises
    ------
    ModelError
        If the model cannot be read, or a model of this kind cannot be built from it.
    """
    if settings.lora is not None:
        lora_options(settings.lora)
    encoder = _initial_model(kind, settings, rows, folder)
    if settings.lora is not None:
        add_lora(encoder, settings.lora)
    return encoder


def _initial_model(kind: Kind, settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import CrossEncoder

    if kind == "dense":
        return _dense(settings, rows, folder)
    if kind == "sparse":
        return _sparse(settings, rows, folder)
    if kind == "multi-vector":
        return _multi_vector(settings, rows, folder)
    model: str | Path = settings.model
    if not is_cross_encoder(model):
        model = write_cross_encoder(model, folder, seed=settings.seed, max_length=settings.max_length)
    return CrossEncoder(model, dtype="float32", max_length=settings.max_length)


def has_sparse_head(model: str | Path) -> bool:
    """Return whether a checkpoint is a sparse encoder or a masked language model, which works as one."""
    from retrieve.encoders.checkpoint import Checkpoint, Source

    checkpoint = Checkpoint.open(model, Source(), organisation="sparse-encoder")
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    is_sparse = checkpoint.settings.get("model_type") == "SparseEncoder"
    is_mlm = not checkpoint.steps and architecture.endswith("ForMaskedLM")
    return is_sparse or is_mlm or any(step.reference.rpartition(".")[2] in _SPARSE_MODULES for step in checkpoint.steps)


def _dense(settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import DenseEncoder

    options: Any = {"dtype": "float32", "max_length": settings.max_length}
    encoder = DenseEncoder(settings.model, **options)
    is_rotated = Path(settings.model) == folder
    if is_rotated or not any(width < encoder.dimension for width in settings.matryoshka or ()):
        return encoder
    texts = list(dict.fromkeys(_documents(rows, 4 * rotation.TEXTS_READ)))
    return DenseEncoder(rotation.write_rotated_encoder(encoder, texts, folder), **options)


def _sparse(settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import SparseEncoder

    options: Any = {"dtype": "float32", "max_length": settings.max_length}
    if not settings.inference_free:
        return SparseEncoder(_with_head(settings, rows, folder), **options)
    with TemporaryDirectory() as staging:
        encoder = SparseEncoder(_with_head(settings, rows, Path(staging) / "documents"), **options)
        if is_inference_free(encoder):
            return encoder
        write_inference_free_encoder(encoder, _documents(rows, TEXTS_COUNTED), folder)
    return SparseEncoder(folder, **options)


def _multi_vector(settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder

    model: str | Path = settings.model
    lengths: Any = {"query_length": settings.query_length, "document_length": settings.document_length}
    if projection.is_multi_vector(model):
        is_own = Path(model) == folder
        if not is_own and (settings.dimension is not None or settings.query_expansion):
            raise InputError(
                f"{model} is a multi-vector encoder already: dimension and query_expansion are for one made from a "
                "dense encoder"
            )
    else:
        dense = DenseEncoder(model, dtype="float32", device="cpu", max_length=settings.max_length)
        model = projection.write_multi_vector_encoder(
            dense,
            _documents(rows, projection.TEXTS_READ),
            folder,
            dimension=settings.dimension,
            query_expansion=settings.query_expansion,
            **lengths,
        )
    return MultiVectorEncoder(model, dtype="float32", max_length=settings.max_length, **lengths)


def _with_head(settings: TrainSettings, rows: Any, folder: Path) -> str | Path:
    """Return the model if it is a sparse encoder; otherwise build one from it in `folder`."""
    from retrieve.encoders import DenseEncoder

    if has_sparse_head(settings.model):
        return settings.model
    dense = DenseEncoder(settings.model, dtype="float32", device="cpu", max_length=settings.max_length)
    if settings.loss is not None and class_name("sparse", settings.loss) in AUTOENCODER_LOSSES:
        return write_autoencoder(dense, folder, seed=settings.seed)
    return mlm_head.write_mlm_encoder(dense, _documents(rows, mlm_head.TEXTS_READ), folder)


def _documents(rows: Any, count: int) -> list[str]:
    """Return the texts of the last input column of the first `count` rows."""
    first_rows = rows.select(range(min(len(rows), count)))
    values = first_rows[roles(rows.column_names).inputs[-1]]
    return [text for value in values for text in (value if isinstance(value, list) else [value])]

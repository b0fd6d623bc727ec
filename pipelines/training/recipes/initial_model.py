"""The model that a training run begins with: a checkpoint, or what has to be made of one first."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.training.recipes.autoencoder import write_autoencoder_start
from pipelines.training.recipes.classification_head import is_cross_encoder, write_cross_start
from pipelines.training.recipes.inference_free import TEXTS_COUNTED, is_inference_free, write_inference_free_start
from pipelines.training.recipes.losses import class_name
from pipelines.training.recipes.mlm_head import TEXTS_READ, write_mlm_start
from pipelines.training.recipes.rotation import TEXTS_READ as TEXTS_TURNED
from pipelines.training.recipes.rotation import write_rotated_start
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

_SPARSE = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding"}


def load_start(kind: Kind, settings: TrainSettings, rows: Any, folder: Path) -> Any:
    """Load what is trained, in float32; what has to be made for it is written to `folder`.

    A reranker of an encoder gets a head of new weights. A sparse encoder of a dense one gets a masked-language-model
    head, or with `CSRLoss` a sparse autoencoder. With `inference_free` queries get weights of their own. Of a dense
    encoder with Matryoshka widths the vectors are turned, see `write_rotated_start`.

    Parameters
    ----------
    rows
        The training data: documents are its last column.

    Raises
    ------
    ModelError
        When the model cannot be read, or not be made into what is wanted.
    """
    from retrieve.encoders import CrossEncoder

    if kind == "dense":
        return _dense(settings, rows, folder)
    if kind == "sparse":
        return _sparse(settings, rows, folder)
    model: str | Path = settings.model
    if not is_cross_encoder(model):
        model = write_cross_start(model, folder, seed=settings.seed, max_length=settings.max_length)
    return CrossEncoder(model, dtype="float32", max_length=settings.max_length)


def has_sparse_head(model: str | Path) -> bool:
    """Tell whether a checkpoint is a sparse encoder, or a masked language model that one can be made of."""
    from retrieve.encoders.checkpoint import Checkpoint, Source

    checkpoint = Checkpoint.open(model, Source(), organisation="sparse-encoder")
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    is_sparse = checkpoint.settings.get("model_type") == "SparseEncoder"
    plain = not checkpoint.steps and architecture.endswith("ForMaskedLM")
    return is_sparse or plain or any(step.reference.rpartition(".")[2] in _SPARSE for step in checkpoint.steps)


def _dense(settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import DenseEncoder

    options: Any = {"dtype": "float32", "max_length": settings.max_length}
    encoder = DenseEncoder(settings.model, **options)
    is_turned = Path(settings.model) == folder
    if is_turned or not any(width < encoder.dimension for width in settings.matryoshka or ()):
        return encoder
    texts = list(dict.fromkeys(_documents(rows, 4 * TEXTS_TURNED)))
    return DenseEncoder(write_rotated_start(encoder, texts, folder), **options)


def _sparse(settings: TrainSettings, rows: Any, folder: Path) -> Any:
    from retrieve.encoders import SparseEncoder

    options: Any = {"dtype": "float32", "max_length": settings.max_length}
    if not settings.inference_free:
        return SparseEncoder(_with_head(settings, rows, folder), **options)
    with TemporaryDirectory() as aside:
        documents = SparseEncoder(_with_head(settings, rows, Path(aside) / "documents"), **options)
        if is_inference_free(documents):
            return documents
        write_inference_free_start(documents, _documents(rows, TEXTS_COUNTED), folder)
    return SparseEncoder(folder, **options)


def _with_head(settings: TrainSettings, rows: Any, folder: Path) -> str | Path:
    """Give the model, or what was made of it in `folder` where it is no sparse encoder."""
    from retrieve.encoders import DenseEncoder

    if has_sparse_head(settings.model):
        return settings.model
    dense = DenseEncoder(settings.model, dtype="float32", device="cpu", max_length=settings.max_length)
    if settings.loss is not None and class_name("sparse", settings.loss) == "CSRLoss":
        return write_autoencoder_start(dense, folder, seed=settings.seed)
    return write_mlm_start(dense, _documents(rows, TEXTS_READ), folder)


def _documents(rows: Any, count: int) -> list[str]:
    """Give the texts of the last input column, of so many rows."""
    some = rows.select(range(min(len(rows), count)))
    values = some[roles(rows.column_names).inputs[-1]]
    return [text for value in values for text in (value if isinstance(value, list) else [value])]

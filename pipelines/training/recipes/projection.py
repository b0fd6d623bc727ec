"""Initial model for late interaction: a dense encoder's transformer with a projection of its token vectors.

The projection keeps the principal axes of the token vectors of some documents. So the new model compares tokens nearly
as the dense encoder's token vectors do before its first step, where a random projection would make noise.
"""

import logging
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError, ModelError
from pipelines.training.recipes.rotation import principal_axes
from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder

logger = logging.getLogger(__name__)

DIMENSION = 128
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 180
"""Maximum tokens, as in ColBERT."""
TEXTS_READ = 256


def is_multi_vector(model: str | Path) -> bool:
    """Return whether a checkpoint is a late-interaction model, in any of the layouts."""
    from retrieve.encoders.checkpoint import Checkpoint, Source
    from retrieve.encoders.colbert_layouts import is_late_interaction

    return is_late_interaction(Checkpoint.open(model, Source(), organisation="lightonai"))


def write_multi_vector_encoder(
    encoder: "DenseEncoder",
    texts: Sequence[str],
    folder: str | Path,
    *,
    dimension: int | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
    query_expansion: bool = False,
) -> Path:
    """Write a dense encoder's transformer as a multi-vector encoder: a projection, punctuation skipped, unit length.

    Parameters
    ----------
    texts
        Documents like those to be encoded; the projection is fitted on the first `TEXTS_READ`.
    folder
        Target folder; existing content is replaced.
    dimension
        Width of a vector (128, or the encoder's own width if that is smaller).
    query_length, document_length
        Maximum tokens of queries (32) and of documents (180), at most those of the encoder.
    query_expansion
        Fill up queries with mask tokens to `query_length`.

    Raises
    ------
    ModelError
        If the encoder does not begin with a transformer, or its tokenizer has no token to expand queries with.
    InputError
        Without texts, or for a `dimension` above the transformer's width.
    """
    import torch

    from retrieve.encoders.modules.dense import Dense
    from retrieve.encoders.modules.multi_vector_mask import MultiVectorMask
    from retrieve.encoders.modules.normalize import Normalize
    from retrieve.encoders.modules.task_lengths import QueryExpansion, TaskLengths
    from retrieve.encoders.modules.transformer import Transformer

    name, first = encoder.checkpoint.name, encoder.modules[0]
    if not isinstance(first, Transformer):
        raise ModelError(f"{name} does not begin with a transformer, and late interaction needs its token vectors")
    if not texts:
        raise InputError("the projection of the token vectors must be fitted on texts, and there are none")
    axes = principal_axes(encoder.encode_tokens(list(texts[:TEXTS_READ]), task="document").vectors)
    width = min(DIMENSION, len(axes)) if dimension is None else dimension
    if not 1 <= width <= len(axes):
        raise InputError(f"dimension must be from 1 to {len(axes)}, the width of the token vectors, not {width}")
    projection = Dense(
        len(axes), width, False, "torch.nn.modules.linear.Identity", "token_embeddings", "token_embeddings"
    )
    with torch.no_grad():
        projection.linear.weight.copy_(torch.from_numpy(axes[:width]))
    limit = encoder.max_length or DOCUMENT_LENGTH
    queries, documents = min(query_length or QUERY_LENGTH, limit), min(document_length or DOCUMENT_LENGTH, limit)
    if query_expansion:
        expansion = QueryExpansion("fixed", queries)
        expansion.token_id(first.tokenizer, encoder.checkpoint.folder)
        lengths = TaskLengths(None, documents, expansion)
    else:
        lengths = TaskLengths(queries, documents)
    first.lengths = lengths
    modules: list[Any] = [
        first,
        projection,
        MultiVectorMask(list(string.punctuation)),
        Normalize("token_embeddings", "token_embeddings"),
    ]
    settings = {"model_type": "MultiVectorEncoder", "prompts": encoder.prompts, "similarity_fn_name": "maxsim"}
    logger.info("%s: added a projection of its token vectors to %d dimensions", name, width)
    return write_into(Path(folder), lambda staging: save_modules(modules, staging, settings))

"""Inference-free SPLADE: queries are encoded by one learned weight per term, without a transformer.

References
----------
Geng et al., "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers", 2024.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.training.model import has_router
from pipelines.training.roles import task_of_column
from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import SparseEncoder
    from retrieve.encoders.batching import Tokens

TEXTS_COUNTED = 20_000
QUERY_LEARNING_RATE = 1e-3
"""Learning rate of the query weights: a single number per term can learn much faster than a transformer."""
QUERY_WEIGHTS = r"\.routes\.query\."
"""Regular expression of the names of these weights."""


def is_inference_free(encoder: Any) -> bool:
    """Return whether an encoder encodes queries by `SparseStaticEmbedding` alone."""
    from retrieve.encoders.modules.router import modules_for_task
    from retrieve.encoders.modules.sparse_static_embedding import SparseStaticEmbedding

    return has_router(encoder) and all(
        isinstance(module, SparseStaticEmbedding) for module in modules_for_task(encoder.modules, "query")
    )


def arguments_for(encoder: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """Return the training arguments that a model with a router needs; the first column takes the query route.

    Parameters
    ----------
    inputs
        The input columns, in their order.
    """
    if not has_router(encoder):
        return {}
    routes = {name: task_of_column(position) for position, name in enumerate(inputs)}
    arguments: dict[str, Any] = {"router_mapping": routes}
    is_trainable = any(
        weight.requires_grad
        for module in encoder.modules
        for name, weight in module.named_parameters()
        if name.startswith("routes.query.")
    )
    if is_inference_free(encoder) and is_trainable:
        arguments["learning_rate_mapping"] = {QUERY_WEIGHTS: QUERY_LEARNING_RATE}
    return arguments


def write_inference_free_encoder(encoder: "SparseEncoder", texts: Sequence[str], folder: str | Path) -> Path:
    """Write a model that encodes documents with `encoder` and queries by each term's inverse document frequency.

    Parameters
    ----------
    encoder
        A SPLADE encoder without a router.
    texts
        Documents in which terms are counted; a term of no document gets a weight above that of the rarest term.
    folder
        Target folder; existing content is replaced.

    Raises
    ------
    InputError
        If the encoder's terms are not those of its tokenizer, as with an autoencoder; or without texts.
    """
    import torch

    from retrieve.encoders.modules.router import Router
    from retrieve.encoders.modules.sparse_static_embedding import SparseStaticEmbedding

    first: Any = encoder.modules[0]
    tokenizer = getattr(first, "tokenizer", None)
    terms = max(tokenizer.get_vocab().values()) + 1 if tokenizer is not None else 0
    if not 0 < terms <= encoder.dimension or len(encoder.modules) != 2:
        raise InputError(
            f"{encoder.checkpoint.name} is not a SPLADE encoder over its tokenizer's vocabulary: query weights need one"
        )
    if not texts:
        raise InputError("the initial query weights need documents in which to count terms")
    if encoder.dimension > terms:
        # Drops padding rows of the output, which have no term in the query route.
        first.model.resize_token_embeddings(terms)
    queries = SparseStaticEmbedding(tokenizer, torch.zeros(terms), max_length=encoder.max_length)
    weights = inverse_document_frequencies(queries.tokenize(list(dict.fromkeys(texts))), terms)
    queries.weight.data.copy_(torch.from_numpy(weights))
    router = Router({"query": [queries], "document": encoder.modules}, default_route="document")
    return write_into(Path(folder), lambda staging: save_modules([router], staging, encoder.settings))


def inverse_document_frequencies(tokens: "Tokens", size: int) -> NDArray[np.float32]:
    """Return BM25's ln(1 + (N - n + 0.5) / (n + 0.5)) for each term that n of N texts contain, float32 [size]."""
    rows = np.repeat(np.arange(len(tokens.lengths), dtype=np.int64), tokens.lengths)
    pairs = np.unique(rows * size + tokens.ids)
    counts = np.bincount(pairs % size, minlength=size)
    odds = (len(tokens.lengths) - counts + 0.5) / (counts + 0.5)
    weights: NDArray[np.float32] = np.log1p(odds).astype(np.float32)
    return weights

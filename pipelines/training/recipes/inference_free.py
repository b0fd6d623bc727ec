"""SPLADE whose queries need no transformer: a learned weight for each term of a query.

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
from retrieve.encoders.saving import save_modules, write_into

if TYPE_CHECKING:
    from retrieve.encoders import SparseEncoder
    from retrieve.encoders.batching import Tokens

TEXTS_COUNTED = 20_000
QUERY_RATE = 1e-3
"""The learning rate of the queries' weights: one number a term learns far faster than a transformer."""
QUERY_WEIGHTS = r"\.routes\.query\."
"""What the names of these weights have in common."""


def is_inference_free(encoder: Any) -> bool:
    """Tell whether an encoder's queries are weighed by `SparseStaticEmbedding` alone."""
    from retrieve.encoders.modules.router import Router, modules_for_task
    from retrieve.encoders.modules.sparse_static_embedding import SparseStaticEmbedding

    if not any(isinstance(module, Router) for module in encoder.modules):
        return False
    return all(isinstance(module, SparseStaticEmbedding) for module in modules_for_task(encoder.modules, "query"))


def arguments_for(encoder: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """Give the trainer's arguments that a model with routes needs: the first column takes that of queries.

    Parameters
    ----------
    inputs
        The columns that are read, in their order.
    """
    from retrieve.encoders.modules.router import Router

    if not any(isinstance(module, Router) for module in encoder.modules):
        return {}
    told: dict[str, Any] = {
        "router_mapping": {name: "document" if at else "query" for at, name in enumerate(inputs)},
    }
    trains = any(weight.requires_grad for module in encoder.modules for weight in _query_weights(module))
    if is_inference_free(encoder) and trains:
        told["learning_rate_mapping"] = {QUERY_WEIGHTS: QUERY_RATE}
    return told


def write_inference_free_start(encoder: "SparseEncoder", texts: Sequence[str], folder: str | Path) -> Path:
    """Write a sparse encoder as the route of documents, with the inverse document frequency of each term for queries.

    Parameters
    ----------
    encoder
        SPLADE, with one way for queries and documents.
    texts
        Documents, in which terms are counted; one that is in none has the weight of the rarest.
    folder
        Where to; what an older run left there is replaced.

    Raises
    ------
    InputError
        When the encoder's terms are not those of its tokenizer, as an autoencoder's; or without texts.
    """
    import torch

    from retrieve.encoders.modules.router import Router
    from retrieve.encoders.modules.sparse_static_embedding import SparseStaticEmbedding

    first: Any = encoder.modules[0]
    tokenizer = getattr(first, "tokenizer", None)
    terms = max(tokenizer.get_vocab().values()) + 1 if tokenizer is not None else 0
    if not 0 < terms <= encoder.dimension or len(encoder.modules) != 2:
        raise InputError(
            f"{encoder.checkpoint.name} is no SPLADE encoder of its tokenizer's terms: queries cannot be weighed apart"
        )
    if not texts:
        raise InputError("the weights of queries need documents to count terms in")
    if encoder.dimension > terms:
        # Rows of padding, for which the route of queries would have no term.
        first.model.resize_token_embeddings(terms)
    queries = SparseStaticEmbedding(tokenizer, torch.zeros(terms), max_length=encoder.max_length)
    weights = inverse_document_frequencies(queries.tokenize(list(dict.fromkeys(texts))), terms)
    queries.weight.data.copy_(torch.from_numpy(weights))
    router = Router({"query": [queries], "document": encoder.modules}, default_route="document")
    write_into(Path(folder), lambda aside: save_modules([router], aside, encoder.settings))
    return Path(folder)


def inverse_document_frequencies(tokens: "Tokens", size: int) -> NDArray[np.float32]:
    """Give ln(1 + (N - n + 0.5) / (n + 0.5)) for each term, of which n of N texts have one or more: BM25's, float32."""
    rows = np.repeat(np.arange(len(tokens.lengths), dtype=np.int64), tokens.lengths)
    pairs = np.unique(rows * size + tokens.ids)
    found = np.bincount(pairs % size, minlength=size)
    inverse: NDArray[np.float32] = np.log1p((len(tokens.lengths) - found + 0.5) / (found + 0.5)).astype(np.float32)
    return inverse


def _query_weights(module: Any) -> list[Any]:
    return [weight for name, weight in module.named_parameters() if name.startswith("routes.query.")]

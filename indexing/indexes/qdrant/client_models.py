"""Models of qdrant-client: parameters of vectors and of text indexes, and vectors themselves."""

from collections.abc import Callable
from typing import Any

from indexing.indexes.qdrant.engine import Sparse
from indexing.indexes.qdrant.settings import Vector
from indexing.indexes.qdrant.text_index import EngineText


def dense_parameters(models: Any, vector: Vector, tenant: str | None) -> Any:
    """Return the parameters of dense vectors or of token vectors."""
    fast = not vector.on_disk
    quantization: dict[str | None, Callable[[], Any]] = {
        None: lambda: None,
        "scalar": lambda: models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=fast)
        ),
        "product": lambda: models.ProductQuantization(
            product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=fast)
        ),
        "binary": lambda: models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=fast)),
    }
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.VectorParams(
        size=max(1, vector.dimension),
        distance=models.Distance.COSINE if vector.cosine else models.Distance.DOT,
        multivector_config=comparator if vector.kind == "tokens" else None,
        hnsw_config=models.HnswConfigDiff(
            # Links within each tenant only: every search names one.
            m=0 if tenant else vector.m,
            payload_m=vector.m if tenant else None,
            ef_construct=vector.ef_construction,
            on_disk=vector.on_disk,
        ),
        quantization_config=quantization[vector.quantization](),
        on_disk=vector.on_disk,
    )


def text_parameters(models: Any, text: EngineText, *, on_disk: bool) -> Any:
    """Return the parameters of a text index that Qdrant scores."""
    language = text.language
    return models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType.WORD,
        lowercase=True,
        stopwords=models.Language(language) if language else None,
        stemmer=models.SnowballParams(type=models.Snowball.SNOWBALL, language=models.SnowballLanguage(language))
        if language
        else None,
        on_disk=on_disk or None,
        scoring=True,
    )


def from_model(vector: Any) -> Any:
    """Return a vector of the client as points have it."""
    indices = getattr(vector, "indices", None)
    return vector if indices is None else Sparse(indices, vector.values)


def to_model(vector: Any) -> Any:
    """Return a vector of a point or a query as the client takes it."""
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices, values=vector.values) if isinstance(vector, Sparse) else vector

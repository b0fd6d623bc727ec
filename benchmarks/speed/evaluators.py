"""Comparison of the information retrieval evaluator with sentence-transformers', on given embeddings.

Both get the same vectors from a stub model, so only search and measures are timed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Job, Row, measure, measured_row

WIDTH, TERMS = 384, 30_522
QUERY_TERMS, DOCUMENT_TERMS = 34, 120
SEED = 4


def compare(queries: int, documents: int, *, sparse: bool, repeats: int, threads: int | None = None) -> list[Row]:
    """Time both evaluators at their defaults."""
    arguments = (queries, documents, sparse)
    mine, other = measure(((ours, *arguments), (theirs, *arguments)), repeats, threads)
    found, expected = mine.result, other.result
    if found.keys() != expected.keys():
        raise RuntimeError("the two evaluators return metrics of different names")
    kind = "sparse" if sparse else "dense"
    task = "evaluate-sparse" if sparse else "evaluate"
    agreement = max(abs(found[name] - expected[name]) for name in expected)
    detail = f"{queries:,} queries, {documents:,} documents, {kind} embeddings given"
    detail += "; agreement: largest difference of a metric"
    return [measured_row(task, "default", mine, other, agreement, detail)]


def ours(queries: int, documents: int, sparse: bool) -> Job:
    """Create our evaluator and a model that returns the vectors."""
    from pipelines.evaluation.evaluators import InformationRetrievalEvaluator

    model = _OurStub(*_vectors(queries, documents, sparse), sparse=sparse)
    evaluator = InformationRetrievalEvaluator(*_data(queries, documents))
    evaluator(model)
    return lambda: evaluator(model), dict


def theirs(queries: int, documents: int, sparse: bool) -> Job:
    """Create their evaluator and a model that returns the vectors."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    kind = SparseInformationRetrievalEvaluator if sparse else InformationRetrievalEvaluator
    asked, searched = _vectors(queries, documents, sparse)
    model = _TheirStub(_tensor(asked), _tensor(searched))
    evaluator = kind(*_data(queries, documents))
    evaluator(model, corpus_embeddings=model.documents)
    return lambda: evaluator(model, corpus_embeddings=model.documents), dict


class _OurStub:
    """Stub with the interface of our encoders that returns given vectors."""

    similarity_fn_name = "dot"

    def __init__(self, queries: Any, documents: Any, *, sparse: bool) -> None:
        self.queries, self.documents, self.kind = queries, documents, "sparse" if sparse else "dense"

    def encode_query(self, texts: list[str], **options: Any) -> Any:
        return self.queries

    def encode_document(self, texts: list[str], **options: Any) -> Any:
        return self.documents


class _TheirStub:
    """Stub with the interface of their encoders that returns given vectors."""

    similarity_fn_name = "dot"

    def __init__(self, queries: Any, documents: Any) -> None:
        self.queries, self.documents, self.model_card_data = queries, documents, self

    def set_evaluation_metrics(self, *figures: Any, **more: Any) -> None:
        """Ignore the metrics."""

    def encode_query(self, texts: list[str], **options: Any) -> Any:
        return self.queries

    def similarity(self, queries: Any, documents: Any) -> Any:
        from sentence_transformers.util import dot_score

        return dot_score(queries, documents)

    def sparsity(self, vectors: Any) -> dict[str, float]:
        from sentence_transformers import SparseEncoder

        return SparseEncoder.sparsity(vectors)


def _data(queries: int, documents: int) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    rng = np.random.default_rng(SEED)
    relevant = {f"q{at}": {f"d{number}" for number in rng.integers(0, documents, 3)} for at in range(queries)}
    return dict.fromkeys(relevant, ""), {f"d{at}": "" for at in range(documents)}, relevant


def _vectors(queries: int, documents: int, sparse: bool) -> tuple[Any, Any]:
    rng = np.random.default_rng(SEED)
    if not sparse:
        found: list[NDArray[np.float32]] = []
        for rows in (queries, documents):
            vectors = rng.standard_normal((rows, WIDTH), dtype=np.float32)
            found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return found[0], found[1]
    return _weights(rng, queries, QUERY_TERMS), _weights(rng, documents, DOCUMENT_TERMS)


def _weights(rng: np.random.Generator, rows: int, terms: int) -> csr_matrix:
    # Term frequencies like those of words: a few terms occur in very many texts.
    columns = np.minimum((rng.pareto(0.7, rows * terms) * 40).astype(np.int64), TERMS - 1)
    weights = rng.random(rows * terms, dtype=np.float32) * 2
    found = csr_matrix((weights, (np.repeat(np.arange(rows), terms), columns)), shape=(rows, TERMS))
    found.sum_duplicates()
    return found


def _tensor(vectors: Any) -> Any:
    import torch

    if isinstance(vectors, csr_matrix):
        coo = vectors.tocoo()
        places = torch.from_numpy(np.stack((coo.row, coo.col)).astype(np.int64))
        return torch.sparse_coo_tensor(places, torch.from_numpy(coo.data), coo.shape).coalesce()
    return torch.from_numpy(vectors)

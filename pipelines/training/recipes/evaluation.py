"""What a model is evaluated with while it is trained: held-out rows, or a collection with judgements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

QUERIES = 500
"""At most so many queries of a collection are searched at each checkpoint."""


def held_out(kind: Kind, settings: TrainSettings) -> tuple[Any, list[Any]]:
    """Give held-out rows, if any, and evaluators for a kind of model.

    For a dense or sparse encoder a BEIR folder is searched with its test queries (dense vectors at all the widths that
    they are trained at); of rows without labels, each query should find its own document among those of all rows. A
    cross-encoder reranks the documents of each row.
    """
    if settings.eval_data is None:
        return None, []
    if kind == "reranker":
        rows = read_rows(settings.eval_data, columns=settings.columns)
        return rows, reranking(rows)
    dimensions = settings.matryoshka or ()
    folder = Path(settings.eval_data)
    if folder.is_dir() and any((folder / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz")):
        from pipelines.evaluation.datasets import load_evaluation_set

        judged = load_evaluation_set(str(folder)).limited(QUERIES)
        corpus = {document.doc_id: document.contents for document in judged.corpus}
        right = {
            query_id: {doc_id for doc_id, grade in grades.items() if grade > 0}
            for query_id, grades in judged.qrels.items()
        }
        return None, _searches(judged.queries, corpus, right, folder.name, dimensions)
    rows = read_rows(folder, columns=settings.columns)
    found = roles(rows.column_names)
    if found.label is not None or len(found.inputs) < 2 or not isinstance(rows[0][found.inputs[1]], str):
        return rows, []
    texts = {text: str(at) for at, text in enumerate(dict.fromkeys(t for name in found.inputs[1:] for t in rows[name]))}
    queries: dict[str, str] = {}
    relevant: dict[str, set[str]] = {}
    for query, positive in zip(rows[found.inputs[0]], rows[found.inputs[1]], strict=True):
        query_id = queries.setdefault(query, str(len(queries)))
        relevant.setdefault(query_id, set()).add(texts[positive])
    by_id = {query_id: query for query, query_id in queries.items()}
    return rows, _searches(by_id, {at: text for text, at in texts.items()}, relevant, "held-out", dimensions)


def reranking(rows: Any) -> list[Any]:
    """Give evaluators of a cross-encoder for held-out rows: of lists, and of tuples with negatives."""
    from pipelines.evaluation.evaluators import CrossEncoderRerankingEvaluator

    found = roles(rows.column_names)
    samples: list[dict[str, Any]] = []
    if found.label is None and len(found.inputs) > 2:
        query, positive, *negatives = found.inputs
        samples = [
            {"query": row[query], "positive": [row[positive]], "negative": [row[name] for name in negatives]}
            for row in rows
        ]
    elif found.label is not None and len(found.inputs) == 2 and isinstance(rows[0][found.inputs[1]], list):
        query, documents = found.inputs
        for row in rows:
            right = [text for text, grade in zip(row[documents], row[found.label], strict=True) if grade > 0]
            wrong = [text for text, grade in zip(row[documents], row[found.label], strict=True) if grade <= 0]
            samples.append({"query": row[query], "positive": right, "negative": wrong})
    return [CrossEncoderRerankingEvaluator(samples, name="held-out", write_csv=False)] if samples else []


def _searches(queries: Any, corpus: Any, right: Any, name: str, dimensions: Sequence[int]) -> list[Any]:
    from pipelines.evaluation.evaluators import InformationRetrievalEvaluator

    evaluators = [InformationRetrievalEvaluator(queries, corpus, right, name=name, write_csv=False)]
    for width in sorted(dimensions, reverse=True)[1:]:
        evaluators.append(
            InformationRetrievalEvaluator(
                queries, corpus, right, name=f"{name}-{width}", truncate_dim=width, write_csv=False
            )
        )
    return evaluators

"""Evaluation during training: held-out rows and evaluators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.mining.positives import numbered
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.settings import Kind, TrainSettings
from pipelines.training.roles import roles

MAX_QUERIES = 500
"""Maximum number of queries of a BEIR folder that are searched at each checkpoint."""


def load_evaluation(kind: Kind, settings: TrainSettings) -> tuple[Any, list[Any]]:
    """Return held-out rows, if any, and evaluators for a kind of model.

    Dense, sparse and multi-vector encoders search a BEIR folder with its test queries; in rows without labels, each
    query should find its own documents among those of all rows. Dense vectors are evaluated at all widths that are
    trained. A cross-encoder reranks the documents of each row.
    """
    if settings.eval_data is None:
        return None, []
    if kind == "reranker":
        rows = read_rows(settings.eval_data, columns=settings.columns)
        return rows, _reranking_evaluators(rows)
    dimensions = settings.matryoshka or ()
    folder = Path(settings.eval_data)
    if folder.is_dir() and any((folder / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz")):
        from pipelines.evaluation.datasets import load_evaluation_set

        judged = load_evaluation_set(str(folder)).limited(MAX_QUERIES)
        corpus = {document.doc_id: document.contents for document in judged.corpus}
        relevant = {
            query_id: {doc_id for doc_id, grade in grades.items() if grade > 0}
            for query_id, grades in judged.qrels.items()
        }
        return None, _retrieval_evaluators(judged.queries, corpus, relevant, folder.name, kind, dimensions)
    rows = read_rows(folder, columns=settings.columns)
    columns = roles(rows.column_names)
    if columns.label is not None or len(columns.inputs) < 2 or not isinstance(rows[0][columns.inputs[1]], str):
        return rows, []
    texts, _ = numbered([text for name in columns.inputs[1:] for text in rows[name]])
    queries, codes = numbered(rows[columns.inputs[0]])
    doc_ids = {text: str(number) for number, text in enumerate(texts)}
    relevant = {}
    for code, positive in zip(codes, rows[columns.inputs[1]], strict=True):
        relevant.setdefault(str(code), set()).add(doc_ids[positive])
    by_id = {str(number): query for number, query in enumerate(queries)}
    corpus = {doc_id: text for text, doc_id in doc_ids.items()}
    return rows, _retrieval_evaluators(by_id, corpus, relevant, "held-out", kind, dimensions)


def _reranking_evaluators(rows: Any) -> list[Any]:
    """Return evaluators of a cross-encoder for held-out rows with lists of documents, or with negatives; else none."""
    from pipelines.evaluation.evaluators import CrossEncoderRerankingEvaluator

    columns = roles(rows.column_names)
    samples: list[dict[str, Any]] = []
    if columns.label is None and len(columns.inputs) > 2:
        query, positive, *negatives = columns.inputs
        samples = [
            {"query": row[query], "positive": [row[positive]], "negative": [row[name] for name in negatives]}
            for row in rows
        ]
    elif columns.label is not None and len(columns.inputs) == 2 and isinstance(rows[0][columns.inputs[1]], list):
        query, documents = columns.inputs
        for row in rows:
            graded = list(zip(row[documents], row[columns.label], strict=True))
            right = [text for text, grade in graded if grade > 0]
            wrong = [text for text, grade in graded if grade <= 0]
            samples.append({"query": row[query], "positive": right, "negative": wrong})
    return [CrossEncoderRerankingEvaluator(samples, name="held-out", write_csv=False)] if samples else []


def _retrieval_evaluators(
    queries: Any, corpus: Any, relevant: Any, name: str, kind: Kind, dimensions: Sequence[int]
) -> list[Any]:
    """Return evaluators of the full vectors and of the vectors truncated to each smaller width."""
    from pipelines.evaluation.evaluators import InformationRetrievalEvaluator, MultiVectorInformationRetrievalEvaluator

    if kind == "multi-vector":
        return [MultiVectorInformationRetrievalEvaluator(queries, corpus, relevant, name=name, write_csv=False)]
    widths = sorted(dimensions, reverse=True)[1:]
    titles: dict[str, int | None] = {name: None} | {f"{name}-{width}": width for width in widths}
    return [
        InformationRetrievalEvaluator(queries, corpus, relevant, name=title, truncate_dim=width, write_csv=False)
        for title, width in titles.items()
    ]

"""Rows of ids become the rows of texts that sentence-transformers makes of them."""

from typing import Any

import pytest
from datasets import Dataset
from sentence_transformers.util.dataset import resolve_ids as theirs

from indexing.errors import InputError
from pipelines.training.resolving import resolve_ids

QUERIES = Dataset.from_dict({"query_id": ["q1", "q2"], "query": ["price of water", "what is heat"]})
DOCUMENTS = Dataset.from_dict({"id": [7, 8, 9], "text": ["water in the market", "fire is heat", "a cell"]})
PAIRS = {"query_id": ["q2", "q1"], "positive_id": [8, 7], "label": [1.0, 0.5]}
LISTS = {"query_id": ["q2", "q1"], "document_ids": [[8, 7, 9], [7, 9, 8]], "scores": [[3, 2, 1], [5, 4, 3]]}


@pytest.mark.parametrize(
    ("batch", "lookups", "options"),
    [
        (PAIRS, {"query_id": QUERIES, "positive_id": DOCUMENTS}, {}),
        (PAIRS, {"positive_id": (DOCUMENTS, "id", "text"), "query_id": (QUERIES, "query_id")}, {"keep_columns": []}),
        (LISTS, {"query_id": QUERIES, "document_ids": DOCUMENTS}, {"max_list_length": 2}),
        (LISTS, {"query_id": QUERIES, "document_ids": DOCUMENTS}, {"output_format": "lists"}),
    ],
)
def test_the_same_rows(batch: Any, lookups: Any, options: Any) -> None:
    mine, expected = resolve_ids(lookups, **options)(batch), theirs(lookups, **options)(batch)
    assert mine == expected and list(mine) == list(expected)
    rows = Dataset.from_dict(batch)
    rows.set_transform(resolve_ids(lookups, **options))
    assert rows[0] == {name: values[0] for name, values in expected.items()}


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"query_id": ["q3"], "document_ids": [[7]]}, "the id 'q3' of column 'query_id' is not in its dataset"),
        ({"query_id": ["q1", "q2"], "document_ids": [[7], [7, 8]]}, "hold 1, 2 ids"),
    ],
)
def test_ids_that_cannot_be_resolved_are_refused(batch: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_ids({"query_id": QUERIES, "document_ids": DOCUMENTS})(batch)


def test_a_dataset_of_several_columns_needs_their_names() -> None:
    wide = DOCUMENTS.add_column("title", ["", "", ""])
    with pytest.raises(InputError, match="several columns of texts among id, text, title"):
        resolve_ids({"positive_id": wide})

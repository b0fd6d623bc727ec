"""How to use a model, here and in sentence-transformers: code for a card."""

import json
from typing import Any

QUERY = "how do vaccines work"
DOCUMENTS = ["Vaccines train the immune system.", "A reliable stream of bytes between two hosts."]


def snippets(kind: str, name: str, example: tuple[str, list[str]] | None = None) -> dict[str, str]:
    """Give Python code by title.

    Parameters
    ----------
    kind
        "dense", "sparse" or "cross", as an encoder's own.
    name
        By which the model is loaded.
    example
        A query and documents; texts of the training data serve best.
    """
    query, documents = example or (QUERY, DOCUMENTS)
    values: dict[str, Any] = {
        "name": _literal(name),
        "query": _literal(query),
        "documents": "[\n" + "".join(f"    {_literal(text)},\n" for text in documents) + "]",
    }
    return {title: code.format(**values).strip() for title, code in _CODE[kind].items()}


def _literal(text: str) -> str:
    """Write a text as Python; a fence of code cannot end inside it."""
    return json.dumps(text, ensure_ascii=False).replace("```", "\\u0060" * 3)


_CODE = {
    "dense": {
        "Here": """
from retrieve import DenseEncoder

encoder = DenseEncoder({name})
queries = encoder.encode_query([{query}])
documents = encoder.encode_document({documents})
print(queries @ documents.T)
""",
        "In sentence-transformers": """
from sentence_transformers import SentenceTransformer

model = SentenceTransformer({name})
queries = model.encode_query([{query}])
documents = model.encode_document({documents})
print(model.similarity(queries, documents))
""",
    },
    "sparse": {
        "Here": """
from retrieve import SparseEncoder

encoder = SparseEncoder({name})
queries = encoder.encode_query([{query}])
documents = encoder.encode_document({documents})
print((queries @ documents.T).toarray())
print(encoder.decode(queries, top_k=10))
""",
        "As a Lucene index": """
from indexing.corpora.corpus import read_corpus
from pipelines import SearchPipeline, build_collection
from retrieve import SparseEncoder

build_collection(read_corpus("corpus.jsonl"), "my-collection", sparse=SparseEncoder({name}))
with SearchPipeline.open("my-collection") as pipeline:
    print(pipeline.search({query}, k=5))
""",
        "In sentence-transformers": """
from sentence_transformers import SparseEncoder

model = SparseEncoder({name})
queries = model.encode_query([{query}])
documents = model.encode_document({documents})
print(model.similarity(queries, documents))
""",
    },
    "cross": {
        "Here": """
from retrieve import CrossEncoder

model = CrossEncoder({name})
documents = {documents}
print(model.predict([({query}, document) for document in documents]))
print(model.rank({query}, documents))
""",
        "As the second stage of a search": """
from pipelines import SearchPipeline

with SearchPipeline.open("my-collection", reranker={name}) as pipeline:
    print(pipeline.search({query}, k=5))
""",
        "In sentence-transformers": """
from sentence_transformers import CrossEncoder

model = CrossEncoder({name})
documents = {documents}
print(model.predict([({query}, document) for document in documents]))
print(model.rank({query}, documents))
""",
    },
}

"""Usage examples of a card, with this library and with sentence-transformers."""

import json
from typing import Any

QUERY = "how do vaccines work"
DOCUMENTS = ["Vaccines train the immune system.", "A reliable stream of bytes between two hosts."]


def snippets(kind: str, name: str) -> dict[str, str]:
    """Return Python code by title.

    Parameters
    ----------
    kind
        The encoder's kind: "dense", "sparse", "multi-vector" or "cross".
    name
        Name that loads the model.
    """
    values: dict[str, Any] = {
        "name": _literal(name),
        "query": _literal(QUERY),
        "documents": "[\n" + "".join(f"    {_literal(text)},\n" for text in DOCUMENTS) + "]",
    }
    return {title: code.format(**values).strip() for title, code in _CODE[kind].items()}


def _literal(text: str) -> str:
    """Return text as a Python literal that cannot end a fenced code block."""
    return json.dumps(text, ensure_ascii=False).replace("```", "\\u0060" * 3)


_OUR_ENCODER = """
from retrieve import KIND

encoder = KIND({name})
queries = encoder.encode_query([{query}])
documents = encoder.encode_document({documents})
"""

_THEIR_ENCODER = """
from sentence_transformers import KIND

model = KIND({name})
queries = model.encode_query([{query}])
documents = model.encode_document({documents})
print(model.similarity(queries, documents))
"""

_LEG = """
from indexing.corpora.corpus import read_corpus
from pipelines import SearchPipeline, build_collection
from retrieve import KIND

build_collection(read_corpus("corpus.jsonl"), "my-collection", LEG=KIND({name}))
with SearchPipeline.open("my-collection") as pipeline:
    print(pipeline.search({query}, k=5))
"""

_CROSS_ENCODER = """
model = CrossEncoder({name})
documents = {documents}
print(model.predict([({query}, document) for document in documents]))
print(model.rank({query}, documents))
"""

_CODE = {
    "dense": {
        "Here": _OUR_ENCODER.replace("KIND", "DenseEncoder") + "print(queries @ documents.T)",
        "In sentence-transformers": _THEIR_ENCODER.replace("KIND", "SentenceTransformer"),
    },
    "sparse": {
        "Here": _OUR_ENCODER.replace("KIND", "SparseEncoder")
        + "print((queries @ documents.T).toarray())\nprint(encoder.decode(queries, top_k=10))",
        "As a Lucene index": _LEG.replace("LEG", "sparse").replace("KIND", "SparseEncoder"),
        "In sentence-transformers": _THEIR_ENCODER.replace("KIND", "SparseEncoder"),
    },
    "multi-vector": {
        "Here": _OUR_ENCODER.replace("import KIND", "import KIND, max_sim").replace("KIND", "MultiVectorEncoder")
        + "print(max_sim(queries, documents))",
        "As a leg of a collection": _LEG.replace("LEG", "multi_vector").replace("KIND", "MultiVectorEncoder"),
        "In sentence-transformers": _THEIR_ENCODER.replace("KIND", "MultiVectorEncoder"),
    },
    "cross": {
        "Here": "from retrieve import CrossEncoder\n" + _CROSS_ENCODER,
        "As the second stage of a search": """
from pipelines import SearchPipeline

with SearchPipeline.open("my-collection", reranker={name}) as pipeline:
    print(pipeline.search({query}, k=5))
""",
        "In sentence-transformers": "from sentence_transformers import CrossEncoder\n" + _CROSS_ENCODER,
    },
}

"""Calls of public functions by the kind of value that they take: ``TAKES_K[name](parts, value)`` passes it as k."""

import asyncio
from dataclasses import dataclass
from typing import Any

from indexing.corpora.chunking import Chunking
from pipelines import SearchPipeline, build_collection
from pipelines.search import Refine
from pipelines.search.highlight import best_window
from pipelines.search.parents import search_parents
from retrieve import DenseEncoder, HybridRetriever, LateInteractionReranker, Reranker, SparseEncoder
from retrieve.reranking.budget import Budget
from retrieve.retrievers import DenseRetriever, SparseRetriever

TEXTS = ["bread oven", "steel"]


@dataclass(frozen=True)
class Parts:
    pipeline: SearchPipeline
    dense: DenseEncoder
    sparse: SparseEncoder
    cross: Any
    reranker: Any
    hybrid: HybridRetriever
    legs: dict[str, Any]
    collection: Any


def streamed(function):
    return lambda parts, value: list(function(parts, value))


TAKES_TEXTS = {
    "pipeline.retrieve": lambda p, v: p.pipeline.retrieve(v),
    "pipeline.multi_search": lambda p, v: p.pipeline.multi_search(v),
    "dense.encode_stream": streamed(lambda p, v: p.dense.encode_stream(v)),
    "sparse.encode_stream": streamed(lambda p, v: p.sparse.encode_stream(v)),
    "cross.rank": lambda p, v: p.cross.rank("bread", v),
}
TAKES_TEXTS_OR_ONE = {
    "rerank": lambda p, v: p.reranker.rerank(v, p.hybrid.search(TEXTS), p.collection.documents),
    "dense.encode": lambda p, v: p.dense.encode(v),
    "dense.encode_query": lambda p, v: p.dense.encode_query(v),
    "dense.encode_document": lambda p, v: p.dense.encode_document(v),
    "dense.encode_tokens": lambda p, v: p.dense.encode_tokens(v),
    "sparse.encode": lambda p, v: p.sparse.encode(v),
    "bm25": lambda p, v: p.legs["bm25"].search(v),
    "dense": lambda p, v: p.legs["dense"].search(v),
    "sparse": lambda p, v: p.legs["sparse"].search(v),
    "hybrid": lambda p, v: p.hybrid.search(v),
}
TAKES_PAIRS = {
    "cross.predict": lambda p, v: p.cross.predict(v),
    "iter_search": streamed(lambda p, v: p.pipeline.iter_search(v)),
}
TAKES_A_QUERY = {
    "search": lambda p, v: p.pipeline.search(v),
    "asearch": lambda p, v: asyncio.run(p.pipeline.asearch(v)),
    "batch_search": lambda p, v: p.pipeline.batch_search({"q": v}),
    "iter_search": streamed(lambda p, v: p.pipeline.iter_search([("q", v)])),
    "multi_search": lambda p, v: p.pipeline.multi_search(["bread", v]),
    "retrieve": lambda p, v: p.pipeline.retrieve(["bread", v]),
}
TAKES_K = {
    "search": lambda p, v: p.pipeline.search("bread", v),
    "asearch": lambda p, v: asyncio.run(p.pipeline.asearch("bread", v)),
    "batch_search": lambda p, v: p.pipeline.batch_search({"q": "bread"}, v)["q"],
    "iter_search": lambda p, v: dict(p.pipeline.iter_search([("q", "bread")], v))["q"],
    "multi_search": lambda p, v: p.pipeline.multi_search(["bread", "oven"], v),
    "retrieve": lambda p, v: p.pipeline.retrieve(["bread"], v)[0],
    "search_parents": lambda p, v: search_parents(p.pipeline, "bread", v),
    "bm25": lambda p, v: p.legs["bm25"].search("bread", v),
    "dense": lambda p, v: p.legs["dense"].search("bread", v),
    "sparse": lambda p, v: p.legs["sparse"].search("bread", v),
    "hybrid": lambda p, v: p.hybrid.search("bread", v),
    "bm25 index": lambda p, v: p.collection.index("bm25").search(["bread"], v)[0],
    "dense index": lambda p, v: p.collection.index("dense").search(p.dense.encode(["bread"]), v)[0],
}
TAKES_A_WHOLE_NUMBER = {
    "depth": lambda p, v: HybridRetriever(p.hybrid.legs, depth=v).search("bread"),
    "depth of a leg": lambda p, v: HybridRetriever(p.hybrid.legs, depth={"bm25": v}),
    "rank": lambda p, v: p.cross.rank("bread", TEXTS, v or 0),
    "truncate_dim": lambda p, v: p.dense.encode(TEXTS, truncate_dim=v or 0),
    "max_active_dims": lambda p, v: p.sparse.encode(TEXTS, max_active_dims=v or 0),
    "decode": lambda p, v: p.sparse.decode(p.sparse.encode(TEXTS), v or 0),
    "max_pairs": lambda p, v: Budget(max_pairs=v or 0),
    "pool": lambda p, v: Refine(pool=v),
    "size": lambda p, v: Chunking(size=v),
    "length": lambda p, v: best_window("bread and butter", [], v),
    "rerank depth": lambda p, v: p.reranker.rerank(
        "bread", p.hybrid.search("bread"), p.collection.documents, depth=v or 0
    ),
    "token_budget": lambda p, v: p.dense.encode(TEXTS, token_budget=v or 0),
}
TAKES_A_NUMBER = {
    "threshold": lambda p, v: Refine(threshold=v),
    "collapse": lambda p, v: Refine(collapse=v),
    "mmr": lambda p, v: Refine(mmr=v),
    "max_ms": lambda p, v: Budget(max_ms=v),
    "early_exit": lambda p, v: Budget(early_exit=v),
    "weight": lambda p, v: LateInteractionReranker(p.dense, weight=v),
}
TAKES_A_FILTER = {
    "search": lambda p, v: p.pipeline.search("bread", filter=v),
    "multi_search": lambda p, v: p.pipeline.multi_search(["bread"], filter=v),
    "retrieve": lambda p, v: p.pipeline.retrieve(["bread"], filter=v),
    "batch_search": lambda p, v: p.pipeline.batch_search({"q": "bread"}, filter=v),
    "bm25": lambda p, v: p.legs["bm25"].search("bread", filter=v),
    "dense": lambda p, v: p.legs["dense"].search("bread", filter=v),
    "sparse": lambda p, v: p.legs["sparse"].search("bread", filter=v),
    "hybrid": lambda p, v: p.hybrid.search("bread", filter=v),
    "matching": lambda p, v: p.collection.matching(v),
}
TAKES_A_FUSION = {
    "hybrid": lambda p, v: HybridRetriever(p.hybrid.legs, fusion=v).search("bread"),
    "multi_search": lambda p, v: p.pipeline.multi_search(["bread", "oven"], fusion=v),
}
TAKES_A_NAMED_THING = {
    "DenseRetriever": lambda p, v: DenseRetriever(v, p.collection.index("dense")),
    "SparseRetriever": lambda p, v: SparseRetriever(v, p.collection.index("sparse")),
    "Reranker": lambda p, v: Reranker(v),
    "LateInteractionReranker": lambda p, v: LateInteractionReranker(v),
}
TAKES_OPTIONS = {
    "search": lambda p, **o: p.pipeline.search("bread", **o),
    "asearch": lambda p, **o: asyncio.run(p.pipeline.asearch("bread", **o)),
    "batch_search": lambda p, **o: p.pipeline.batch_search({"q": "bread"}, **o),
    "iter_search": lambda p, **o: p.pipeline.iter_search({"q": "bread"}, **o),
    "multi_search": lambda p, **o: p.pipeline.multi_search(["bread"], **o),
    "search_parents": lambda p, **o: search_parents(p.pipeline, "bread", **o),
    "retrieve": lambda p, **o: p.pipeline.retrieve(["bread"], **o),
    "open": lambda p, **o: SearchPipeline.open(p.collection.path, **o),
    "build_collection": lambda p, **o: build_collection([], p.collection.path / "new", **o),
    "encode": lambda p, **o: p.dense.encode(TEXTS, **o),
    "encode_query": lambda p, **o: p.dense.encode_query(TEXTS, **o),
    "sparse.encode_document": lambda p, **o: p.sparse.encode_document(TEXTS, **o),
    "predict": lambda p, **o: p.cross.predict([("a", "b")], **o),
    "rank": lambda p, **o: p.cross.rank("a", ["b"], **o),
    "Refine": lambda p, **o: Refine(**o),
    "Budget": lambda p, **o: Budget(**o),
}

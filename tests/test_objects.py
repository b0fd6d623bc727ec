"""Every public object pickled, copied, forked, closed twice, used after it is closed, and by eight threads at once.

Each is right, or refuses with one line of an error of this project.
"""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from crash.writing import ENCODERS, FIELDS, plan
from late_interaction import write_colbert

from checkpoints import write_bert
from indexing.collection.manifest import read_manifest
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.corpora import ChunkedCorpus, Chunking, read_corpus
from indexing.documents import Document
from indexing.errors import RetrieveError
from indexing.filters import parse_filter
from indexing.hits import Hits
from indexing.token_vectors import TokenVectors
from pipelines import SearchPipeline
from pipelines.build.job import build_legs
from pipelines.evaluation.evaluators import InformationRetrievalEvaluator
from pipelines.models import Models
from pipelines.search import Refine, SearchConfig
from pipelines.search.cache import AnswerCache
from pipelines.search.results import SearchResults
from pipelines.service.config import ServeConfig
from retrieve import CrossEncoder, DenseEncoder, HybridRetriever, LateInteractionReranker, MultiVectorEncoder, Reranker
from retrieve.fusion import FUSIONS, fusion_from_config
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, SparseRetriever, TokenRetriever

LEGS = ["bm25", "dense", "sparse", "tokens"]
DOCUMENTS = [Document(f"d{n}", f"w000{n} w0010 w002{n}", metadata={"year": n}) for n in range(8)]
QUERIES = ["w0001 w0010", "w0022"]
TEXTS = ["the light wave", "a cell in the water", "stock price"]


@dataclass
class Parts:
    """A collection and small models, from which the objects are made."""

    path: Path
    corpus: Path
    models: dict[str, Any]

    def index(self, name: str) -> Any:
        from indexing.collection.legs import open_index

        leg = read_manifest(self.path).legs[name]
        return open_index(leg, self.path / "legs" / leg.folder, read_only=True)


def make_parts(folder: Path) -> Parts:
    from transformers import BertForMaskedLM, BertForSequenceClassification

    from retrieve.encoders import SparseEncoder

    build_legs(DOCUMENTS, folder / "c", plan(LEGS), show_progress=False)
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "One. Two."}\n{"_id": "2", "text": "Three."}\n')
    dense, cross = write_bert(folder / "dense"), folder / "cross"
    write_bert(cross, BertForSequenceClassification, num_labels=1)
    write_bert(folder / "splade", BertForMaskedLM)
    models = {
        "dense": DenseEncoder(dense, dtype="float32"),
        "sparse": SparseEncoder(folder / "splade", dtype="float32"),
        "cross": CrossEncoder(cross, dtype="float32"),
        "multi": MultiVectorEncoder(write_colbert(folder / "colbert"), dtype="float32"),
    }
    return Parts(folder / "c", folder / "corpus.jsonl", models)


def plain(value: Any) -> Any:
    """Return an answer in a form that `==` compares."""
    if isinstance(value, np.ndarray):
        return np.round(np.asarray(value, dtype=np.float64), 4).tolist()
    if hasattr(value, "toarray"):
        return plain(value.toarray())
    if isinstance(value, TokenVectors):
        return [plain(value.offsets), plain(value.vectors)]
    if isinstance(value, Hits):
        return [[(hit.doc_id, round(hit.score, 4)) for hit in ranking] for ranking in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "doc_id") and hasattr(value, "score"):
        return value.doc_id, round(value.score, 4)
    return value


def searched(index: Any, name: str) -> Any:
    return index.search(QUERIES if name == "bm25" else ENCODERS[name].encode_query(QUERIES), 3)


def opened(parts: Parts) -> Any:
    options = {"dense": ENCODERS["dense"], "sparse": ENCODERS["sparse"], "multi_vector": ENCODERS["tokens"]}
    return SearchPipeline.open(parts.path, **options, cache=3)


def hybrid(parts: Parts) -> Any:
    return HybridRetriever(
        [Bm25Retriever(parts.index("bm25")), DenseRetriever(ENCODERS["dense"], parts.index("dense"))]
    )


def use_cache(held: Any) -> Any:
    held.put("key", SearchResults([]))
    return list(held.get("key"))


def rerank(reranker: Any) -> Any:
    class Texts:
        def contents(self, ids: Any) -> list[str]:
            return [f"the light of {doc_id}" for doc_id in ids]

    hits = Hits.from_run({"q": {"a": 2.0, "b": 1.0}}, ["q"])
    return reranker.rerank(["light"], hits, Texts())


Make = Callable[[Parts], Any]
OBJECTS: dict[str, tuple[Make, Callable[[Any], Any]]] = {
    "Collection": (lambda p: Collection.open(p.path), lambda c: [d.text for d in c.get(["d1", "d2"])]),
    "CollectionWriter": (lambda p: CollectionWriter.open(p.path), lambda w: [d.text for d in w.get(["d1", "d2"])]),
    "DocumentStore": (lambda p: Collection.open(p.path).documents, lambda s: [d.text for d in s.get(["d1"])]),
    "Bm25Index": (lambda p: p.index("bm25"), lambda i: searched(i, "bm25")),
    "ImpactIndex": (lambda p: p.index("sparse"), lambda i: searched(i, "sparse")),
    "FaissIndex": (lambda p: p.index("dense"), lambda i: searched(i, "dense")),
    "TokenIndex": (lambda p: p.index("tokens"), lambda i: searched(i, "tokens")),
    "Bm25Retriever": (lambda p: Bm25Retriever(p.index("bm25")), lambda r: r.search(QUERIES, 3)),
    "DenseRetriever": (
        lambda p: DenseRetriever(ENCODERS["dense"], p.index("dense")),
        lambda r: r.search(QUERIES, 3),
    ),
    "SparseRetriever": (
        lambda p: SparseRetriever(ENCODERS["sparse"], p.index("sparse")),
        lambda r: r.search(QUERIES, 3),
    ),
    "TokenRetriever": (
        lambda p: TokenRetriever(ENCODERS["tokens"], p.index("tokens")),
        lambda r: r.search(QUERIES, 3),
    ),
    "HybridRetriever": (hybrid, lambda r: r.search(QUERIES, 3)),
    "SearchPipeline": (opened, lambda s: [s.search(query, 3) for query in QUERIES]),
    "DenseEncoder": (lambda p: p.models["dense"], lambda e: e.encode(TEXTS)),
    "SparseEncoder": (lambda p: p.models["sparse"], lambda e: e.encode(TEXTS)),
    "MultiVectorEncoder": (lambda p: p.models["multi"], lambda e: e.encode_query(TEXTS)),
    "CrossEncoder": (lambda p: p.models["cross"], lambda e: e.predict([("light", text) for text in TEXTS])),
    "Reranker": (lambda p: Reranker(p.models["cross"]), rerank),
    "LateInteractionReranker": (lambda p: LateInteractionReranker(p.models["dense"]), rerank),
    "Models": (lambda p: Models(), lambda m: m.dense is not None),
    "AnswerCache": (lambda p: AnswerCache(3), use_cache),
    "Corpus": (lambda p: read_corpus(p.corpus), lambda c: [d.text for d in c]),
    "ChunkedCorpus": (
        lambda p: ChunkedCorpus(read_corpus(p.corpus), Chunking(by="sentences", size=4, overlap=0)),
        lambda c: [d.text for d in c],
    ),
    "InformationRetrievalEvaluator": (
        lambda p: InformationRetrievalEvaluator({"q": "light"}, {"d": "the light"}, {"q": {"d"}}),
        lambda e: e.name,
    ),
    "Hits": (lambda p: Hits.from_run({"q": {"a": 2.0, "b": 1.0}}, ["q"]), lambda h: h),
    "Ranking": (lambda p: Hits.from_run({"q": {"a": 2.0, "b": 1.0}}, ["q"])[0], lambda r: list(r)),
    "Document": (lambda p: DOCUMENTS[0], lambda d: (d.doc_id, d.contents)),
    "Filter": (
        lambda p: parse_filter({"or": [{"color": "red"}, {"year": {"gte": 3}}]}, FIELDS),
        lambda f: parse_filter(f, FIELDS) == f and repr(f),
    ),
    "Chunking": (lambda p: Chunking(size=9), lambda c: c == Chunking(size=9)),
    "Budget": (lambda p: Budget(max_pairs=3), lambda b: b == Budget(max_pairs=3)),
    "Refine": (lambda p: Refine(mmr=0.5), lambda r: r == Refine(mmr=0.5)),
    "SearchConfig": (lambda p: SearchConfig(depth=7), lambda c: c == SearchConfig(depth=7)),
    "ServeConfig": (lambda p: ServeConfig(port=1), lambda c: c == ServeConfig(port=1)),
    "Manifest": (lambda p: read_manifest(p.path), lambda m: sorted(m.legs)),
    "TokenVectors": (lambda p: ENCODERS["tokens"].encode_query(QUERIES), lambda t: t),
    **{
        f"fusion {name}": (
            lambda p, name=name: fusion_from_config({"method": name}),
            lambda f: f([Hits.from_run({"q": {"a": 2.0, "b": 1.0}}, ["q"]).as_leg(leg) for leg in ("bm25", "dense")]),
        )
        for name in FUSIONS
        if name != "spread-weighted"
    },
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("objects"))


@pytest.fixture(params=OBJECTS)
def thing(request, parts):
    make, use = OBJECTS[request.param]
    made = make(parts)
    yield made, use
    if hasattr(made, "close"):
        made.close()


def or_refused(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or None if it raises an error of this project with one line."""
    try:
        return call()
    except RetrieveError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 400
        return None


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "deep", "pickle"]
)
def test_a_copy_answers_as_the_original_or_is_refused(thing, copied):
    made, use = thing
    expected = plain(use(made))
    other = or_refused(lambda: copied(made))
    if other is not None:
        assert plain(use(other)) == expected
    assert plain(use(made)) == expected, "copying leaves the original as it is"


def test_eight_threads_at_once_get_the_answers_of_one(thing):
    made, use = thing
    expected, start = plain(use(made)), Barrier(8)

    def work(_: int) -> list[Any]:
        start.wait()
        return [plain(use(made)) for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[expected] * 3] * 8


CLOSED = ["Collection", "CollectionWriter", "DocumentStore", *(name for name in OBJECTS if name.endswith("Index"))]


@pytest.mark.parametrize("name", [*CLOSED, "HybridRetriever", "SearchPipeline"])
def test_what_is_closed_says_so_however_often_it_is_closed(parts, name):
    make, use = OBJECTS[name]
    made = make(parts)
    made.close()
    made.close()
    with pytest.raises(RetrieveError, match="is closed: open it again"):
        use(made)


FORKED = """
import faulthandler, os, sys
sys.path[:0] = sys.argv[3:]
import test_objects as t
from pathlib import Path
parts = t.Parts(Path(sys.argv[1]), Path(sys.argv[2]), {})
for name in t.OBJECTS_TO_FORK:
    make, use = t.OBJECTS[name]
    made = make(parts)
    expected = t.plain(use(made))
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            got = t.plain(use(made))
            status = 0 if got == expected else 3
        except t.RetrieveError as error:
            status = 0 if "spawn" in str(error) else 4
        except BaseException as error:
            print(name, type(error).__name__, error, file=sys.stderr)
            status = 5
        os._exit(status)
    _, status = os.waitpid(child, 0)
    print(name, os.waitstatus_to_exitcode(status), flush=True)
    if hasattr(made, "close"):
        made.close()
"""
OBJECTS_TO_FORK = [name for name in OBJECTS if not name.endswith(("Encoder", "Reranker", "Evaluator"))]


@pytest.mark.slow
def test_a_forked_process_gets_the_answer_or_is_asked_to_spawn(parts):
    """In a process of its own, which has no threads of pytest."""
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    arguments = [sys.executable, "-c", FORKED, str(parts.path), str(parts.corpus), *places]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=250, env=os.environ)
    wrong = [line for line in ran.stdout.splitlines() if not line.endswith(" 0")]
    assert not wrong and len(ran.stdout.splitlines()) == len(OBJECTS_TO_FORK), (wrong, ran.stderr[-3000:])

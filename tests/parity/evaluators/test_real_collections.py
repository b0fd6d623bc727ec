"""The same figures as sentence-transformers on samples of real collections, where this machine has them."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from sentence_transformers.cross_encoder import evaluation as their_cross
from sentence_transformers.sentence_transformer import evaluation as their_dense

from evaluating import KINDS, assert_same, pick
from indexing.corpora.corpus import read_corpus
from indexing.documents import Document
from nanobeir_copies import write_nanobeir
from pipelines import SearchPipeline, build_collection
from pipelines.evaluation import evaluators as ours
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.nanobeir import NAMES, NanoSet

COLLECTIONS = Path(__file__).parents[4] / "shared" / "collections"
SAMPLES = {"scifact": "scifact", "nfcorpus": "cranfield"}
"""Which collection stands in for which of NanoBEIR's sets."""
QUERIES, DOCUMENTS = 4, 16

NANOBEIR_MEANS = {
    "dense": ["NanoBEIR_mean_cosine_ndcg@10", "NanoBEIR_mean_cosine_map@100", "NanoSciFact_cosine_recall@5"],
    "sparse": ["NanoBEIR_mean_dot_ndcg@10", "NanoBEIR_mean_avg_flops", "NanoBEIR_mean_query_active_dims"],
}

pytestmark = pytest.mark.skipif(not COLLECTIONS.is_dir(), reason="the collections are not on this machine")


def table(name: str, rows: int) -> list[list[str]]:
    with (COLLECTIONS / "sts" / name).open(encoding="utf-8-sig") as file:
        every = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return random.Random(0).sample(every, rows)


def test_similarity_of_sts(models: Any, tmp_path: Path) -> None:
    rows = table("stsb_dev.tsv", 100)
    columns = [one for _, one, _ in rows], [other for _, _, other in rows], [float(score) for score, _, _ in rows]
    both = [
        module.EmbeddingSimilarityEvaluator(*columns, name="sts", similarity_fn_names=["cosine", "dot", "euclidean"])
        for module in (ours, their_dense)
    ]
    assert assert_same(*both, models["dense"], tmp_path, twice=False)["sts_spearman_cosine"] > 0.8


def test_paraphrases_of_msr(models: Any, tmp_path: Path) -> None:
    rows = table("msr-para-test.tsv", 60)
    columns = [row[3] for row in rows], [row[4] for row in rows], [int(row[0]) for row in rows]
    both = [module.BinaryClassificationEvaluator(*columns, name="msr") for module in (ours, their_dense)]
    assert assert_same(*both, models["dense"], tmp_path, twice=False)["msr_cosine_ap"] > 0.7


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few queries and documents of each collection as NanoBEIR has them, with BM25's order."""
    sets = {}
    for name, collection in SAMPLES.items():
        judged = load_evaluation_set(COLLECTIONS / collection, check_corpus=False)
        queries = dict(list(judged.queries.items())[:QUERIES])
        right = {query_id: [d for d, grade in judged.qrels[query_id].items() if grade > 0] for query_id in queries}
        wanted = {doc_id for ids in right.values() for doc_id in ids}
        some = [document for document in judged.corpus if document.doc_id in wanted]
        others = (document for document in judged.corpus if document.doc_id not in wanted)
        some += [document for document, _ in zip(others, range(DOCUMENTS - len(some)), strict=False)]
        there = {document.doc_id for document in some}
        right = {query_id: [d for d in ids if d in there] for query_id, ids in right.items()}
        with searched(some, tmp_path_factory.mktemp("bm25") / name) as pipeline:
            order = [[hit.doc_id for hit in pipeline.search(text, k=30)] for text in queries.values()]
        sets[f"Nano{NAMES[name]}"] = {
            "corpus": {"_id": [d.doc_id for d in some], "text": [d.contents for d in some]},
            "queries": {"_id": list(queries), "text": list(queries.values())},
            "qrels": {"query-id": list(right), "corpus-id": list(right.values())},
            "bm25": {"query-id": list(queries), "corpus-ids": order},
        }
    return write_nanobeir(tmp_path_factory.mktemp("hub") / "NanoBEIR-samples", sets)


def searched(documents: Any, folder: Path, **legs: Any) -> SearchPipeline:
    rows = folder.with_suffix(".jsonl")
    Dataset.from_list([{"_id": one.doc_id, "text": one.contents} for one in documents]).to_json(str(rows))
    build_collection(read_corpus(str(rows)), folder, **legs)
    return SearchPipeline.open(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_nanobeir_of_encoders(models: Any, samples: Path, tmp_path: Path, kind: str) -> None:
    both = [one(list(SAMPLES), str(samples)) for one in pick(kind, "NanoBEIREvaluator")]
    found = assert_same(*both, models[kind], tmp_path, twice=False)
    assert set(NANOBEIR_MEANS[kind]) <= found.keys()


def test_nanobeir_of_a_cross_encoder(models: Any, samples: Path, tmp_path: Path) -> None:
    both = [
        module.CrossEncoderNanoBEIREvaluator(list(SAMPLES), str(samples), rerank_k=5) for module in (ours, their_cross)
    ]
    found = assert_same(*both, models["cross"], tmp_path, twice=False)
    assert {"NanoBEIR_R5_mean_ndcg@10", "NanoBEIR_R5_mean_base_ndcg@10"} <= found.keys()


def test_nanobeir_of_a_whole_pipeline(models: Any, samples: Path, tmp_path: Path) -> None:
    opened: list[SearchPipeline] = []

    def pipeline(one: NanoSet) -> SearchPipeline:
        documents: Iterator[Document] = (Document(doc_id, text) for doc_id, text in one.corpus.items())
        opened.append(searched(documents, tmp_path / one.name, dense=models["dense"][0]))
        return opened[-1]

    try:
        found = ours.NanoBEIREvaluator(list(SAMPLES), str(samples))(pipeline)
    finally:
        for one in opened:
            one.close()
    means = [value for key, value in found.items() if key.startswith("NanoBEIR_mean_") and key.endswith("_ndcg@10")]
    sets = [value for key, value in found.items() if not key.startswith("NanoBEIR") and key.endswith("_ndcg@10")]
    assert len(opened) == len(sets) == 2 and means == [pytest.approx(sum(sets) / 2)]
    assert means[0] > 0.3, "words and meaning find what was asked for"

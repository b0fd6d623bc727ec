"""Evaluators give sentence-transformers' figures, keys, primary figure and files, on the same model and data."""

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from sentence_transformers.cross_encoder import evaluation as their_cross
from sentence_transformers.sentence_transformer import evaluation as their_dense
from sentence_transformers.sparse_encoder import evaluation as their_sparse
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.evaluation import evaluators as ours
from pipelines.evaluation.nanobeir import NAMES, load_nanobeir
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

WORDS = ["water", "fire", "heat", "light", "wave", "cell", "energy", "stock", "market", "price", "vaccine", "the"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, minilm_path: Any) -> dict[str, tuple[Any, Any]]:
    folder = tmp_path_factory.mktemp("models")
    mlm = str(write_bert(folder / "mlm", BertForMaskedLM))
    cross = str(write_bert(folder / "cross", BertForSequenceClassification, num_labels=1))
    classes = str(write_bert(folder / "classes", BertForSequenceClassification, num_labels=3))
    settings = {"dtype": "float32", "device": "cpu"}
    return {
        "dense": (DenseEncoder(minilm_path, **settings), SentenceTransformer(str(minilm_path), device="cpu")),
        "sparse": (SparseEncoder(mlm, **settings), TheirSparseEncoder(mlm, device="cpu")),
        "cross": (CrossEncoder(cross, **settings), TheirCrossEncoder(cross, device="cpu")),
        "classes": (CrossEncoder(classes, **settings), TheirCrossEncoder(classes, device="cpu")),
    }


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(2, 9)))


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [text(draw) for _ in range(count)]


def rows(path: Path) -> list[list[Any]]:
    found = list(csv.reader(path.open(encoding="utf-8")))
    return [found[0], *([float(value) for value in row] for row in found[1:])]


def assert_same(
    mine: Any, theirs: Any, pair: tuple[Any, Any] | None, folder: Path, *, tolerance: float = 1e-5, twice: bool = True
) -> dict[str, float]:
    """Call both, twice, as at two steps of training; compare figures, the primary one and the file."""
    for steps in (10, 20) if twice else (10,):
        where = {"epoch": 1, "steps": steps}
        models = ((), ()) if pair is None else ((pair[0],), (pair[1],))
        found = mine(*models[0], output_path=str(folder / "mine"), **where)
        expected = theirs(*models[1], output_path=str(folder / "theirs"), **where)
        assert list(found) == list(expected) or found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=tolerance, rel=tolerance), key
    assert mine.primary_metric == theirs.primary_metric
    written = rows(folder / "theirs" / theirs.csv_file)
    own = rows(folder / "mine" / mine.csv_file)
    assert own[0] == written[0]
    for row, wanted in zip(own[1:], written[1:], strict=True):
        np.testing.assert_allclose(row, wanted, rtol=tolerance, atol=tolerance)
    return found


KINDS = ["dense", "sparse"]


def pick(kind: str, name: str) -> tuple[Any, Any]:
    sparse = kind == "sparse"
    theirs = getattr(their_sparse if sparse else their_dense, f"{'Sparse' if sparse else ''}{name}")
    return getattr(ours, f"{'Sparse' if sparse else ''}{name}"), theirs


def retrieval_data() -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    draw = random.Random(1)
    corpus = {f"d{at}": text(draw) for at in range(80)}
    corpus |= {f"copy{at}": corpus[f"d{at}"] for at in range(10)}
    queries = {f"q{at}": text(draw) for at in range(20)}
    relevant = {f"q{at}": {draw.choice(list(corpus)) for _ in range(1 + at % 4)} for at in range(18)} | {"q18": set()}
    relevant["q0"].add("not there")
    return queries, corpus, relevant


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"name": "set", "ndcg_at_k": [3, 10], "query_prompt": "find: "}])
def test_information_retrieval(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "InformationRetrievalEvaluator")
    data = retrieval_data()
    both = [one(*data, write_predictions=True, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)
    (predictions,) = (tmp_path / "theirs").glob("*predictions*")
    expected = [json.loads(line) for line in predictions.read_text().splitlines()]
    found = [json.loads(line) for line in (tmp_path / "mine" / predictions.name).read_text().splitlines()]
    for line, wanted in zip(found, expected, strict=True):
        assert (line["query_id"], line["query"]) == (wanted["query_id"], wanted["query"])
        mine_scores = [hit["score"] for hit in line["results"]]
        np.testing.assert_allclose(mine_scores, [hit["score"] for hit in wanted["results"]], atol=1e-4)
        assert {h["corpus_id"] for h in line["results"][:20]} == {h["corpus_id"] for h in wanted["results"][:20]}


def test_information_retrieval_truncated_and_by_given_functions(models: Any, tmp_path: Path) -> None:
    from sentence_transformers.util import cos_sim, dot_score, euclidean_sim

    data = retrieval_data()
    options: dict[str, Any] = {
        "truncate_dim": 48,
        "score_functions": {"dot": dot_score, "cos": cos_sim, "far": euclidean_sim},
    }
    both = [
        one(*data, **options) for one in (ours.InformationRetrievalEvaluator, their_dense.InformationRetrievalEvaluator)
    ]
    assert_same(*both, models["dense"], tmp_path)


def test_information_retrieval_of_a_retriever(models: Any) -> None:
    queries, corpus, relevant = retrieval_data()
    evaluator = ours.InformationRetrievalEvaluator(queries, corpus, relevant)
    encoder = models["dense"][0]
    expected = evaluator(encoder)

    class Finds:
        name = "cosine"

        def search(self, asked: list[str], k: int) -> Hits:
            scores = encoder.encode(asked) @ encoder.encode(list(corpus.values())).T
            run = {str(row): dict(zip(corpus, map(float, scores[row]), strict=True)) for row in range(len(asked))}
            return Hits.from_run(run, list(run)).top(k)

    assert evaluator(Finds()) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"similarity_fn_names": ["cosine", "dot", "euclidean", "manhattan"], "name": "sts"}]
)
def test_embedding_similarity(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "EmbeddingSimilarityEvaluator")
    scores = [random.Random(at).random() for at in range(40)]
    both = [one(texts(40, 1), texts(40, 2), scores, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_embedding_similarity_of_quantised_vectors(models: Any, tmp_path: Path, precision: Any) -> None:
    scores = [random.Random(at).random() for at in range(60)]
    both = [
        one(texts(60, 1), texts(60, 2), scores, precision=precision, main_similarity="cosine")
        for one in (ours.EmbeddingSimilarityEvaluator, their_dense.EmbeddingSimilarityEvaluator)
    ]
    # A value at the edge of two bins may fall into either.
    assert_same(*both, models["dense"], tmp_path, tolerance=5e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"similarity_fn_names": ["cosine", "euclidean"], "name": "quora"}])
def test_binary_classification(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "BinaryClassificationEvaluator")
    first = texts(50, 3)
    second = [one if at % 3 == 0 else other for at, (one, other) in enumerate(zip(first, texts(50, 4), strict=True))]
    labels = [int(at % 3 == 0 or at % 7 == 0) for at in range(50)]
    both = [one(first, second, labels, **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"similarity_fn_names": ["dot", "manhattan"], "margin": {"dot": 0.1}, "name": "nli"}, {"margin": 0.2}],
)
def test_triplets(models: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    mine, theirs = pick(kind, "TripletEvaluator")
    both = [one(texts(40, 5), texts(40, 6), texts(40, 7), **options) for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_translation(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "TranslationEvaluator")
    source = texts(30, 8)
    target = [f"{one} {WORDS[at % 5]}" for at, one in enumerate(source)]
    target[3] = target[4]
    assert_same(mine(source, target, name="en"), theirs(source, target, name="en"), models[kind], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_mse(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "MSEEvaluator")
    pair = models[kind]
    both = [one(texts(20, 9), texts(20, 10), teacher_model=pair[at]) for at, one in enumerate((mine, theirs))]
    assert_same(*both, pair, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_reranking(models: Any, tmp_path: Path, kind: str) -> None:
    mine, theirs = pick(kind, "RerankingEvaluator")
    draw = random.Random(11)
    samples = [
        {"query": text(draw), "positive": texts(1 + at % 3, at), "negative": texts(5, 100 + at)} for at in range(12)
    ]
    samples.append({"query": "alone", "positive": "one text", "negative": []})
    both = [one(samples, at_k=4, name="r") for one in (mine, theirs)]
    assert_same(*both, models[kind], tmp_path)


def test_paraphrase_mining(models: Any, tmp_path: Path) -> None:
    sentences = {f"s{at}": one for at, one in enumerate(texts(60, 12))}
    sentences |= {f"t{at}": f"{sentences[f's{at}']} again" for at in range(20)}
    duplicates = [(f"s{at}", f"t{at}") for at in range(20)] + [("t1", "s30"), ("s1", "unknown")]
    for options in ({}, {"add_transitive_closure": True}, {"top_k": 3, "max_pairs": 40, "name": "p"}):
        both = [
            one(sentences, duplicates, **options)
            for one in (ours.ParaphraseMiningEvaluator, their_dense.ParaphraseMiningEvaluator)
        ]
        assert_same(*both, models["dense"], tmp_path / str(len(options)) / str(options.get("name")))


def test_cross_encoder_classification(models: Any, tmp_path: Path) -> None:
    pairs = list(map(list, zip(texts(40, 13), texts(40, 14), strict=True)))
    for kind, labels in (("cross", [at % 2 for at in range(40)]), ("classes", [at % 3 for at in range(40)])):
        both = [
            one(pairs, labels, name=kind)
            for one in (ours.CrossEncoderClassificationEvaluator, their_cross.CrossEncoderClassificationEvaluator)
        ]
        assert_same(*both, models[kind], tmp_path)


def test_cross_encoder_correlation(models: Any, tmp_path: Path) -> None:
    pairs = list(map(list, zip(texts(40, 15), texts(40, 16), strict=True)))
    scores = [random.Random(at).random() for at in range(40)]
    both = [
        one(pairs, scores)
        for one in (ours.CrossEncoderCorrelationEvaluator, their_cross.CrossEncoderCorrelationEvaluator)
    ]
    assert_same(*both, models["cross"], tmp_path)


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("key", ["negative", "documents"])
def test_cross_encoder_reranking(models: Any, tmp_path: Path, key: str, always: bool) -> None:
    draw = random.Random(17)
    samples = []
    for at in range(12):
        positive = texts(1 + at % 2, 40 + at)
        others = texts(6, 200 + at)
        if key == "documents" and at % 3:
            others.insert(at % 5, positive[0])
        samples.append({"query": text(draw), "positive": positive, key: others})
    both = [
        one(samples, at_k=4, always_rerank_positives=always, name="x")
        for one in (ours.CrossEncoderRerankingEvaluator, their_cross.CrossEncoderRerankingEvaluator)
    ]
    assert_same(*both, models["cross"], tmp_path)


def test_reciprocal_rank_fusion(tmp_path: Path) -> None:
    draw = random.Random(18)
    dense, sparse = [], []
    for at in range(15):
        pool = [f"text {number}" for number in range(30)]
        told = {"query_id": str(at), "query": f"query {at}", "positive": draw.sample(pool, 1 + at % 3)}
        dense.append(told | {"documents": draw.sample(pool, 12)})
        sparse.append(told | {"documents": draw.sample(pool, 8)})
    both = [
        one(dense, sparse, at_k=5, name="f", write_predictions=True)
        for one in (ours.ReciprocalRankFusionEvaluator, their_sparse.ReciprocalRankFusionEvaluator)
    ]
    assert_same(*both, None, tmp_path)
    (predictions,) = (tmp_path / "theirs").glob("*predictions*")
    assert (tmp_path / "mine" / predictions.name).read_text() == predictions.read_text()


def test_sequential(models: Any) -> None:
    pair = models["dense"]
    results = []
    for at, module in enumerate((ours, their_dense)):
        inner = [
            module.TripletEvaluator(texts(10, 1), texts(10, 2), texts(10, 3), name="a"),
            module.EmbeddingSimilarityEvaluator(texts(10, 1), texts(10, 2), list(range(10)), name="b"),
        ]
        kind = ours.SequentialEvaluator if at == 0 else their_dense.SequentialEvaluator
        results.append(kind(inner)(pair[at]))
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_label_accuracy(models: Any, tmp_path: Path) -> None:
    encoder = models["dense"][0]
    torch.manual_seed(0)
    layer = torch.nn.Linear(2 * encoder.dimension, 3)
    columns, labels = [texts(30, 1), texts(30, 2)], [at % 3 for at in range(30)]
    vectors = np.concatenate([encoder.encode(column) for column in columns], axis=1)
    expected = (layer(torch.from_numpy(vectors)).argmax(dim=1).numpy() == labels).mean()
    evaluator = ours.LabelAccuracyEvaluator(columns, labels, lambda found: layer(torch.cat(found, dim=1)), name="nli")
    assert evaluator(encoder, tmp_path) == {"nli_accuracy": pytest.approx(expected)}
    assert rows(tmp_path / "accuracy_evaluation_nli_results.csv")[0] == ["epoch", "steps", "accuracy"]


@pytest.fixture(scope="module")
def nanobeir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of NanoBEIR in the Hub's layout: two sets, each table a Parquet file, named by the card."""
    folder = tmp_path_factory.mktemp("hub") / "NanoBEIR-en"
    draw = random.Random(21)
    configs: dict[str, list[str]] = {}
    for name in ("scifact", "nfcorpus"):
        split = f"Nano{NAMES[name]}"
        corpus = {f"{name}-d{at}": text(draw) for at in range(60)} | {f"{name}-empty": ""}
        queries = {f"{name}-q{at}": text(draw) for at in range(8)}
        ids = list(corpus)[:-1]
        tables = {
            "corpus": {"_id": list(corpus), "text": list(corpus.values())},
            "queries": {"_id": list(queries), "text": list(queries.values())},
            "qrels": {"query-id": list(queries), "corpus-id": [draw.sample(ids, 2) for _ in queries]},
            "bm25": {"query-id": list(queries), "corpus-ids": [draw.sample(ids, 30) for _ in queries]},
        }
        for config, columns in tables.items():
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_dict(columns).to_parquet(str(path))
            configs.setdefault(config, []).append(split)
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_nanobeir(models: Any, nanobeir: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = pick(kind, "NanoBEIREvaluator")
    options: dict[str, Any] = {
        "dataset_names": ["scifact", "NFCorpus"],
        "query_prompts": {"scifact": "a: ", "NFCorpus": "b: "},
    }
    both = [one(dataset_id=str(nanobeir), **options) for one in (mine, theirs)]
    found = assert_same(*both, models[kind], tmp_path)
    assert any(key.startswith("NanoBEIR_mean_") for key in found)


def test_nanobeir_of_a_cross_encoder(models: Any, nanobeir: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset_names": ["scifact", "nfcorpus"], "rerank_k": 20}
    both = [
        one(dataset_id=str(nanobeir), **options)
        for one in (ours.CrossEncoderNanoBEIREvaluator, their_cross.CrossEncoderNanoBEIREvaluator)
    ]
    assert_same(*both, models["cross"], tmp_path)


def test_nanobeir_of_a_pipeline(models: Any, nanobeir: Path) -> None:
    encoder = models["dense"][0]
    evaluator = ours.NanoBEIREvaluator(["scifact", "nfcorpus"], str(nanobeir))
    expected = evaluator(encoder)

    class Finds:
        name = "cosine"

        def __init__(self, one: Any) -> None:
            self.corpus = one.corpus

        def search(self, asked: list[str], k: int) -> Hits:
            scores = encoder.encode(asked) @ encoder.encode(list(self.corpus.values())).T
            run = {str(row): dict(zip(self.corpus, map(float, scores[row]), strict=True)) for row in range(len(asked))}
            return Hits.from_run(run, list(run)).top(k)

    assert evaluator(Finds) == pytest.approx(expected)


def test_nanobeir_with_one_judgement_a_row(nanobeir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "translated"
    shutil.copytree(nanobeir, folder)
    expected = load_nanobeir("scifact", str(nanobeir))
    flat = [(query, doc_id) for query, ids in expected.relevant_docs.items() for doc_id in ids]
    table = Dataset.from_dict({"query-id": [query for query, _ in flat], "corpus-id": [doc_id for _, doc_id in flat]})
    table.to_parquet(str(folder / "qrels" / "NanoSciFact-00000-of-00001.parquet"))
    assert load_nanobeir("scifact", str(folder)) == expected


def test_nanobeir_is_loaded_when_first_needed_and_from_a_copy(nanobeir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours.NanoBEIREvaluator()  # no network: nothing is loaded yet
    monkeypatch.setenv("RETRIEVE_DATA", str(nanobeir.parent))
    one = load_nanobeir("SciFact", first_stage=True)
    assert (one.name, len(one.queries), len(one.corpus)) == ("SciFact", 8, 60)
    assert one.first_stage is not None and len(one.first_stage["scifact-q0"]) == 30
    with pytest.raises(InputError, match="no set 'squad'"):
        load_nanobeir("squad")
    with pytest.raises(InputError, match="no Parquet file of the split NanoNQ"):
        load_nanobeir("nq")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.TripletEvaluator(["a"], ["b"], []), "1 and 0 entries"),
        (lambda: ours.EmbeddingSimilarityEvaluator([], [], []), "empty"),
        (lambda: ours.BinaryClassificationEvaluator(["a"], ["b"], [2]), "0 or 1"),
        (lambda: ours.InformationRetrievalEvaluator({"q": "x"}, {"d": "y"}, {"r": {"d"}}), "do not share an id"),
        (lambda: ours.NanoBEIREvaluator(["nothing"]), "no set 'nothing'"),
        (lambda: ours.TripletEvaluator(["a"], ["b"], ["c"], similarity_fn_names=["cos"]), "unknown similarity"),
        (lambda: ours.CrossEncoderRerankingEvaluator([{"query": "q", "positive": ["a"]}]), "either 'negative'"),
    ],
)
def test_bad_input_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()

"""Models that both sides evaluate, and a copy of NanoBEIR."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert
from evaluating import text
from nanobeir_copies import write_nanobeir
from pipelines.evaluation.nanobeir import NAMES
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`datasets` knows a local folder by its name alone: elsewhere a folder of another run would be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def nanobeir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of NanoBEIR in the Hub's layout: two sets, each table a Parquet file, named by the card."""
    draw = random.Random(21)
    sets = {}
    for name in ("scifact", "nfcorpus"):
        corpus = {f"{name}-d{at}": text(draw) for at in range(60)} | {f"{name}-empty": ""}
        queries = {f"{name}-q{at}": text(draw) for at in range(8)}
        ids = list(corpus)[:-1]
        sets[f"Nano{NAMES[name]}"] = {
            "corpus": {"_id": list(corpus), "text": list(corpus.values())},
            "queries": {"_id": list(queries), "text": list(queries.values())},
            "qrels": {"query-id": list(queries), "corpus-id": [draw.sample(ids, 2) for _ in queries]},
            "bm25": {"query-id": list(queries), "corpus-ids": [draw.sample(ids, 30) for _ in queries]},
        }
    return write_nanobeir(tmp_path_factory.mktemp("hub") / "NanoBEIR-en", sets)

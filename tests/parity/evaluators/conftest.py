"""Models that both sides evaluate, and a copy of NanoBEIR."""

import random
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert
from evaluating import text
from pipelines.evaluation.nanobeir import NAMES
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder


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

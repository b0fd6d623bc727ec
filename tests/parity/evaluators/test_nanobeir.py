"""NanoBEIR's evaluators, on a copy that both sides read."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from sentence_transformers.cross_encoder import evaluation as their_cross

from evaluating import KINDS, assert_same, pick
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.evaluation import evaluators as ours
from pipelines.evaluation.nanobeir import load_nanobeir


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
    with pytest.raises(InputError, match="no split 'NanoNQ'; it has NanoNFCorpus, NanoSciFact"):
        load_nanobeir("nq")

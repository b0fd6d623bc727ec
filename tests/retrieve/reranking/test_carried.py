"""The weight that a trained reranker carries: used at home, safer elsewhere, and never in place of a stated one."""

import json
import logging

import numpy as np
import pytest

from checkpoints import write_bert
from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError, ModelError
from indexing.hits import Hits
from retrieve.encoders import CrossEncoder
from retrieve.reranking.base import reweighted
from retrieve.reranking.carried import FILE, SAMPLE, CarriedWeight, sample_documents
from retrieve.reranking.cross_encoder import Reranker

TEXTS = {f"d{at}": f"text number {at} of the home collection" for at in range(60)}
OTHER = {f"d{at}": f"something else in place {at}" for at in range(60)}


class Store(dict):
    """Documents as a pipeline's store has them."""

    def alive(self, ids):
        return {doc_id for doc_id in ids if doc_id in self}

    def contents(self, ids):
        return [self[doc_id] for doc_id in ids]


def carried(**changes) -> CarriedWeight:
    documents = sample_documents(TEXTS, Store(TEXTS))
    return CarriedWeight(0.3, 0.9, "home", 60, 50, (0.05, 0.01, 0.09), documents, **changes)


@pytest.fixture
def model(tmp_path):
    from transformers import BertForSequenceClassification

    folder = write_bert(tmp_path / "model", BertForSequenceClassification, num_labels=1)
    carried().write(folder)
    return CrossEncoder(folder, dtype="float32")


def hits() -> Hits:
    return Hits.from_run({"q": {f"d{at}": 20.0 - at**1.3 for at in range(8)}}, ["q"])


def weight_of(reranked: Hits) -> float:
    """Return the weight that makes the reranker's own scores and the first stage's into the final ones."""
    return next(
        weight
        for weight in np.arange(0, 1.05, 0.1).round(1)
        if np.allclose(np.sort(reweighted(reranked, weight).scores), np.sort(reranked.scores), atol=1e-6)
    )


def test_is_read_as_it_was_written(tmp_path):
    carried().write(tmp_path)
    assert CarriedWeight.read(tmp_path) == carried()
    assert CarriedWeight.read(tmp_path / "nothing") is None
    assert len(carried().documents) == SAMPLE


def test_at_home_it_is_used_without_being_stated(model):
    reranker = Reranker(model)
    assert reranker.weight == 0.3
    assert weight_of(reranker.rerank(["some text"], hits(), TEXTS)) == 0.3


def test_in_another_collection_the_first_stage_keeps_most_of_its_score_and_a_warning_says_why(model, caplog):
    with caplog.at_level(logging.WARNING):
        reranker = Reranker(model)
        assert weight_of(reranker.rerank(["some text"], hits(), OTHER)) == 0.9
        reranker.rerank(["some text"], hits(), OTHER)
    (record,) = caplog.records
    assert "'home'" in record.message
    assert "retrieve tune" in record.message
    assert weight_of(reranker.rerank(["some text"], hits(), TEXTS)) == 0.3


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_a_stated_weight_comes_first(model, weight):
    for documents in (TEXTS, OTHER):
        assert weight_of(Reranker(model, weight=weight).rerank(["some text"], hits(), documents)) == weight
    later = Reranker(model)
    later.weight = weight
    assert weight_of(later.rerank(["some text"], hits(), OTHER)) == weight


def test_a_model_without_one_has_the_weight_0(tiny_cross_encoder):
    assert Reranker(tiny_cross_encoder).weight == 0
    assert Reranker(tiny_cross_encoder).weight_for(TEXTS) == 0


def test_a_collection_is_recognized_after_additions_and_some_deletions(tmp_path):
    with DocumentStore.create(tmp_path / "documents.sqlite") as store:
        store.upsert([Document(doc_id, text) for doc_id, text in TEXTS.items()])
        kept = CarriedWeight(0.3, 0.9, "home", 60, 50, (0.05, 0.01, 0.09), sample_documents(store.ids(), store))
        assert kept.for_documents(store) == 0.3
        store.upsert([Document(f"new{at}", "added later") for at in range(200)])
        store.delete(sorted(kept.documents)[: SAMPLE // 2])
        assert kept.for_documents(store) == 0.3
        store.upsert([Document(doc_id, "rewritten") for doc_id in kept.documents])
        assert kept.for_documents(store) == 0.9
    assert carried().for_documents({}) == 0.9
    assert carried().for_documents(object()) == 0.9


@pytest.mark.parametrize("content", ["{", "[]", '{"weight": 2}', json.dumps({"weight": 0.3, "documents": []}), "null"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ModelError, match=r"reranking\.json"):
        CarriedWeight.read(tmp_path)


def test_weights_outside_0_and_1_are_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        CarriedWeight(1.2, 0.9, "home", 1, 1, (0.0, 0.0, 0.0), {})

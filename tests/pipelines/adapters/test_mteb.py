"""mteb evaluates a pipeline and an encoder with the scores of the same model in mteb's own wrapper."""

import math

import pytest
from wrong_arguments import NOT_WHOLE, refused

pytest.importorskip("mteb", reason="pip install 'retrieve-rerank[mteb]'")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import EncoderProtocol, SearchProtocol

from indexing.errors import InputError
from pipelines.adapters.mteb import EncoderModel, PipelineSearch, query_text

QUERIES = {
    "q1": ("loaf from yeast", "bread"),
    "q2": ("unreliable packets", "udp"),
    "q3": ("decompose matrices", "svd"),
    "q4": ("order items", "sort"),
    "q5": ("dessert", "cake"),
}


@pytest.fixture
def make_task(corpus):
    def make(top_ranked=None):
        class Small(AbsTaskRetrieval):
            metadata = TaskMetadata(
                type="Retrieval" if top_ranked is None else "Reranking",
                name="Small",
                main_score="ndcg_at_10",
                description="a few documents",
                reference="https://example.org",
                dataset={"path": "NA", "revision": "NA"},
                eval_splits=["test"],
                eval_langs=["eng-Latn"],
                category="t2t",
                modalities=["text"],
            )

            def load_data(self, num_proc=None, **_):
                documents = [{"id": d.doc_id, "title": d.title, "text": d.text} for d in corpus]
                self.dataset = {
                    "default": {
                        "test": {
                            "corpus": Dataset.from_list(documents),
                            "queries": Dataset.from_list(
                                [{"id": query_id, "text": text} for query_id, (text, _) in QUERIES.items()]
                            ),
                            "relevant_docs": {query_id: {right: 1} for query_id, (_, right) in QUERIES.items()},
                            "top_ranked": top_ranked,
                        }
                    }
                }
                self.data_loaded = True

        return Small()

    return make


def scores(model, task):
    kept = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
    found = kept.scores["test"][0]
    return {name: found[name] for name in ("ndcg_at_1", "ndcg_at_10", "map_at_10", "recall_at_3", "mrr_at_10")}


@pytest.fixture(scope="module")
def reference(minilm_path):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(minilm_path, device="cpu")


class TestEncoder:
    def test_scores_as_sentence_transformers_does(self, minilm, reference, make_task):
        model = EncoderModel(minilm)
        assert isinstance(model, EncoderProtocol)
        assert scores(model, make_task()) == pytest.approx(scores(reference, make_task()))

    def test_its_revision_is_its_weights(self, minilm, tiny_splade):
        meta = EncoderModel(minilm, name="me/mine").mteb_model_meta
        assert meta.name == "me/mine" and meta.embed_dim == 384
        assert meta.revision == EncoderModel(minilm).mteb_model_meta.revision
        assert meta.revision != PipelineSearch(dense=minilm).mteb_model_meta.revision


class TestPipeline:
    def test_a_dense_leg_alone_scores_as_its_encoder(self, minilm, reference, make_task):
        with PipelineSearch(bm25=False, dense=minilm) as model:
            assert isinstance(model, SearchProtocol) and not isinstance(model, EncoderProtocol)
            assert scores(model, make_task()) == pytest.approx(scores(reference, make_task()))

    def test_legs_and_a_reranker(self, minilm, make_task, reranked):
        with PipelineSearch(dense=minilm, config={"reranker": {"model": "late-interaction", "candidates": 8}}) as model:
            found = scores(model, make_task())
        expected = {query_id: [r.doc_id for r in reranked.search(text, k=8)] for query_id, (text, _) in QUERIES.items()}
        firsts = [expected[query_id][0] == right for query_id, (_, right) in QUERIES.items()]
        assert found["ndcg_at_1"] == pytest.approx(sum(firsts) / len(firsts))

    def test_candidates_that_the_task_gives_are_reranked(self, minilm, make_task):
        candidates = {query_id: [right, "tcp", "eig", "日本"] for query_id, (_, right) in QUERIES.items()}
        with PipelineSearch(dense=minilm, config={"reranker": "late-interaction"}) as model:
            model.index([{"id": doc_id, "text": doc_id} for doc_id in ("a", "b", "c")])
            answer = model.search([{"id": "q", "text": "b"}], top_k=2, top_ranked={"q": ["c", "b"]})
            assert list(answer) == ["q"] and list(answer["q"]) == ["b", "c"]
            found = scores(model, make_task(candidates))
        assert found["recall_at_3"] > 0.5 and found["ndcg_at_10"] <= 1

    def test_candidates_need_a_reranker(self):
        with PipelineSearch() as model:
            with pytest.raises(InputError, match="call index"):
                model.search([{"id": "q", "text": "b"}], top_k=2)
            model.index([{"id": "a", "text": "flour"}])
            with pytest.raises(InputError, match="name a reranker"):
                model.search([{"id": "q", "text": "b"}], top_k=2, top_ranked={"q": ["a"]})
            assert model.search([{"id": 7, "text": "flour"}], top_k=2)["7"].keys() == {"a"}

    def test_other_pipelines_have_other_revisions(self, minilm):
        made = [
            PipelineSearch(),
            PipelineSearch(dense=minilm),
            PipelineSearch(bm25=False, dense=minilm),
            PipelineSearch(dense=minilm, config={"depth": 50}),
        ]
        assert len({model.mteb_model_meta.revision for model in made}) == 4


NO_ENCODER = ["x", b"x", 5, {"a": 1}, {1}, [1], math.nan, object()]
NO_ROWS = ["x", b"x", None, 5, {"a": 1}, [None], ["a"], [{"id": 1}], [{"text": "x"}], [{"id": "1", "text": 5}]]
ARGUMENTS = {
    "dense": (lambda value: PipelineSearch(dense=value), NO_ENCODER),
    "sparse": (lambda value: PipelineSearch(sparse=value), NO_ENCODER),
    "config": (lambda value: PipelineSearch(config=value), [b"x", 5, {1}, [1], math.nan, "nosuch.yaml", {"a": 1}]),
    "name": (lambda value: PipelineSearch(name=value), ["x", "/x", "a/b/c", "", None, 5, b"a/b", ["a/b"]]),
    "encoder": (EncoderModel, [None, *NO_ENCODER]),
    "corpus": (lambda value: PipelineSearch().index(value), NO_ROWS),
}


@pytest.mark.parametrize(("call", "value"), [(call, value) for call, values in ARGUMENTS.values() for value in values])
def test_wrong_arguments(call, value):
    refused(lambda: call(value))


def test_wrong_arguments_of_a_search():
    with PipelineSearch() as model:
        model.index([{"id": "a", "text": "flour"}])
        for rows in NO_ROWS:
            refused(lambda rows=rows: model.search(rows, top_k=2))
        for k in NOT_WHOLE:
            refused(lambda k=k: model.search([{"id": "q", "text": "flour"}], top_k=k))


def test_a_query_is_one_text():
    assert query_text({"text": "a", "instruction": None}) == "a"
    assert query_text({"text": "a", "instruction": "b"}) == "a b"
    assert query_text({"text": ["a", "b"]}) == "a; b"
    assert query_text({"text": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) == (
        "user: a; assistant: b"
    )


def test_the_example_of_the_docs(run_example, make_task):
    lines = run_example("MTEB", task=make_task())
    assert [line.split()[0] for line in lines[-2:]] == ["retrieve-rerank/pipeline", "retrieve-rerank/encoder"]

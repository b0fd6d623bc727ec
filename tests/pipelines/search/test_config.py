"""Configurations as people write them: read, checked, written back."""

import pytest

from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.search import LegConfig, RerankerConfig, SearchConfig

WHOLE = """
collection: ../somewhere
legs:
  bm25: {depth: 200}
  dense:
fusion: {method: rrf, k: 20, weights: [0.4, 0.6]}
depth: 50
reranker: {model: late-interaction, candidates: 20, passages: max, max_ms: 200, weight: 0.25}
on_leg_error: degrade
workers: 2
cache: 100
"""


def test_a_whole_file(tmp_path):
    (tmp_path / "search.yaml").write_text(WHOLE)
    config = SearchConfig.load(tmp_path / "search.yaml")

    assert config.legs == {"bm25": LegConfig(depth=200), "dense": LegConfig()}
    assert config.fusion == {"method": "rrf", "k": 20, "weights": [0.4, 0.6]}
    assert config.reranker == RerankerConfig("late-interaction", candidates=20, passages="max", max_ms=200, weight=0.25)
    assert (config.depth, config.on_leg_error, config.workers, config.cache) == (50, "degrade", 2, 100)
    assert config.reranker.budget.max_ms == 200


def test_what_is_written_is_read_again(tmp_path):
    (tmp_path / "one.yaml").write_text(WHOLE)
    config = SearchConfig.load(tmp_path / "one.yaml")
    config.save(tmp_path / "two.yaml")
    assert SearchConfig.load(tmp_path / "two.yaml") == config
    assert "dtype" not in (tmp_path / "two.yaml").read_text(), "only what differs from the defaults"


def test_short_forms():
    config = SearchConfig.load({"legs": ["bm25"], "reranker": "late-interaction"})
    assert config.legs == {"bm25": LegConfig()} and config.reranker == RerankerConfig("late-interaction")
    assert SearchConfig.load({}) == SearchConfig()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("lags: [bm25]", r"unknown key 'lags': known are collection, legs, fusion, depth"),
        ("legs: {dense: {deth: 3}}", r"unknown key 'legs.dense.deth': known are depth, encoder, dtype"),
        ("reranker: {modell: x}", r"unknown key 'reranker.modell': known are model, candidates"),
        ("reranker: {candidates: 3}", r"reranker.model is missing"),
        ("reranker: {model: x, passages: last}", r"reranker.passages must be one of first, max, mean, not 'last'"),
        ("reranker: {model: x, max_ms: -1}", r"reranker.max_ms must be a number above 0, not -1"),
        ("reranker: {model: x, weight: much}", r"reranker.weight must be a number of at least 0, not 'much'"),
        ("depth: 0", r"depth must be a whole number of at least 1, not 0"),
        ("depth: null", r"depth must be a whole number of at least 1, not None"),
        ("workers: true", r"workers must be a whole number of at least 1, not True"),
        ("on_leg_error: ignore", r"on_leg_error must be one of raise, degrade, not 'ignore'"),
        ("legs: bm25", r"legs must be a list of names, or options by name, not 'bm25'"),
        ("cache: -1", r"cache must be a whole number of at least 0, not -1"),
        ("fusion: rrf", r"fusion must be keys with values, not 'rrf'"),
        ("- bm25", r"the content must be keys with values"),
        ("legs: [bm25", r"is not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, content, says):
    (tmp_path / "search.yaml").write_text(content)
    with pytest.raises(InputError, match=rf"search\.yaml.*{says}"):
        SearchConfig.load(tmp_path / "search.yaml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        SearchConfig.load(tmp_path / "nothing.yaml")


@pytest.fixture(scope="module")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("configured") / "collection"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    return path


class TestOnACollection:
    @pytest.fixture
    def configured(self, collection):
        """The collection with a file of its own in it, for one test."""
        file = collection / "search.yaml"
        yield file
        file.unlink(missing_ok=True)

    def test_the_collections_own_file_is_obeyed_and_arguments_come_before_it(self, collection, configured, minilm):
        configured.write_text(
            "legs: {bm25: {depth: 3}, dense: {}}\nfusion: {method: rrf}\ndepth: 7\nreranker: late-interaction\n"
        )
        with SearchPipeline.open(collection, dense=minilm) as pipeline:
            assert pipeline.retriever.depth == {"bm25": 3, "dense": 7}
            assert pipeline.reranker is not None
            # RRF and weighted sum differ in scale.
            assert pipeline.search("bake")[0].legs["first-stage"].score < 2 / 60
        with SearchPipeline.open(collection, dense=minilm, legs=["bm25"], reranker=None) as pipeline:
            assert pipeline.retriever.name == "bm25" and pipeline.reranker is None
        with SearchPipeline.open(collection, dense=minilm, depth=9, candidates=4) as pipeline:
            assert pipeline.retriever.depth == {"bm25": 9, "dense": 9}
            assert pipeline.candidates == 4

    def test_saved_and_opened_again_it_finds_the_same(self, collection, configured, minilm, tmp_path):
        options = {"fusion": {"method": "rrf", "weights": [1, 3]}, "depth": {"bm25": 4}, "candidates": 3}
        with SearchPipeline.open(collection, dense=minilm, reranker="late-interaction", **options) as pipeline:
            expected = [(result.doc_id, result.score) for result in pipeline.search("bake bread")]
            assert pipeline.save() == configured
            pipeline.save(tmp_path / "elsewhere.yaml")
        for opened in (
            SearchPipeline.open(collection, dense=minilm),
            SearchPipeline.from_config(tmp_path / "elsewhere.yaml", dense=minilm),
            SearchPipeline.from_config(configured, dense=minilm),
        ):
            with opened:
                found = [(result.doc_id, result.score) for result in opened.search("bake bread")]
                assert [doc_id for doc_id, _ in found] == [doc_id for doc_id, _ in expected]
                assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)

    def test_from_a_mapping(self, collection, minilm):
        with SearchPipeline.from_config({"collection": str(collection), "legs": ["bm25"]}) as pipeline:
            assert pipeline.search("datagrams")[0].doc_id == "udp"
        with pytest.raises(InputError, match="names no collection"):
            SearchPipeline.from_config({"legs": ["bm25"]})

    def test_what_cannot_be_written_down(self, collection, minilm, tmp_path):
        from retrieve.reranking.late_interaction import LateInteractionReranker

        def own(answers):
            return answers[0]

        for part, says in (
            ({"fusion": own}, "function of your own"),
            ({"reranker": LateInteractionReranker(minilm)}, "was given loaded: open it by its name"),
        ):
            pipeline = SearchPipeline.open(collection, dense=minilm, **part)
            with pipeline, pytest.raises(InputError, match=says):
                pipeline.save(tmp_path / "x.yaml")
        assert not (tmp_path / "x.yaml").exists()

    def test_a_wrong_fusion_is_named(self, collection, minilm):
        with pytest.raises(InputError, match="fusion method 'rff'"):
            SearchPipeline.open(collection, dense=minilm, fusion={"method": "rff"})

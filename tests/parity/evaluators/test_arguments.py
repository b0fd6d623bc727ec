"""Evaluators take sentence-transformers' arguments, in its order, and refuse what cannot be meant."""

import inspect
from typing import Any

import pytest
from sentence_transformers import InputExample
from sentence_transformers.cross_encoder import evaluation as their_cross
from sentence_transformers.multi_vector_encoder import evaluation as their_multi_vector
from sentence_transformers.sentence_transformer import evaluation as their_dense
from sentence_transformers.sparse_encoder import evaluation as their_sparse

from evaluating import texts
from indexing.errors import InputError
from pipelines.evaluation import evaluators as ours

MODULES = (their_dense, their_sparse, their_cross, their_multi_vector)
NAMES = [
    (module, name)
    for module in MODULES
    for name in module.__all__
    if name not in ("BaseEvaluator", "SentenceEvaluator")
]


def parameters(of: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(of.__init__).parameters.values())[1:]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_every_evaluator_is_there_with_its_arguments_in_their_order(module: Any, name: str) -> None:
    mine, theirs = getattr(ours, name), getattr(module, name)
    if name == "SimilarityFunction":
        assert {kind: mine[kind].value for kind in mine.__members__}.items() <= {
            k: v.value for k, v in theirs.__members__.items()
        }.items()
        return
    wanted = [one for one in parameters(theirs) if one.kind is not one.VAR_KEYWORD]
    found = parameters(mine)[: len(wanted)]
    assert [(one.name, one.kind) for one in found] == [(one.name, one.kind) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        # Functions and words that say "not given" are spelt differently.
        if not callable(other.default) and other.default != "deprecated":
            expected = tuple(other.default) if isinstance(other.default, list) else other.default
            assert one.default == expected, one.name
    more = [one for one in parameters(mine)[len(wanted) :] if one.kind is not one.VAR_KEYWORD]
    assert all(one.kind is one.KEYWORD_ONLY for one in more), "their next argument would land in ours"


def test_a_sparse_evaluators_place_of_max_active_dims(models: Any) -> None:
    evaluator = ours.SparseTripletEvaluator(["a fire"], ["heat"], ["stock"], None, None, "t", 16, False, True, 3)
    assert evaluator.encoding.max_active_dims == 3 and evaluator.encoding.truncate_dim is None
    assert evaluator(models["sparse"][0])["t_anchor_active_dims"] <= 3


@pytest.mark.parametrize("name", [name for name in their_cross.__all__ if name.startswith("CE")])
def test_an_old_name_works_and_says_the_new_one(models: Any, name: str) -> None:
    data: Any = ([["fire", "heat"], ["stock", "wave"], ["cell", "light"]], [1, 0, 1])
    if name == "CERerankingEvaluator":
        data = ([{"query": "fire", "positive": ["heat"], "negative": ["stock"]}],)
    with pytest.warns(DeprecationWarning, match=f"{name} is an old name: write CrossEncoder"):
        mine = getattr(ours, name)(*data)
    with pytest.warns(DeprecationWarning):
        theirs = getattr(their_cross, name)(*data)
    both = models["cross"]
    assert mine(both[0]) == pytest.approx(theirs(both[1]), abs=1e-6)
    assert hasattr(mine, "from_input_examples") == hasattr(theirs, "from_input_examples")


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("EmbeddingSimilarityEvaluator", 2),
        ("SparseBinaryClassificationEvaluator", 2),
        ("TripletEvaluator", 3),
        ("CrossEncoderCorrelationEvaluator", 2),
        ("CEBinaryAccuracyEvaluator", 2),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evaluators_of_examples(models: Any, name: str, width: int) -> None:
    # A correlation of half as many scores magnifies the last bits of the vectors beyond what is allowed below.
    examples = [InputExample(texts=texts(width, at), label=at % 2) for at in range(12)]
    kind = "cross" if name.startswith("C") else "sparse" if name.startswith("Sparse") else "dense"
    found = [
        getattr(module, name).from_input_examples(iter(examples), name="x")(model)
        for module, model in zip((ours, next(one for one in MODULES if hasattr(one, name))), models[kind], strict=True)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-6)


def test_old_arguments_work_and_say_the_new_ones() -> None:
    sample = {"query": "q", "positive": ["a"], "negative": ["b"]}
    with pytest.warns(DeprecationWarning, match="mrr_at_k is an old name: write at_k"):
        assert ours.RerankingEvaluator([sample], mrr_at_k=3).at_k == 3
    with pytest.warns(DeprecationWarning, match="mrr_at_k"):
        assert ours.CrossEncoderRerankingEvaluator([sample], mrr_at_k=3).at_k == 3
    with pytest.warns(DeprecationWarning, match="write main_similarity_function"):
        assert ours.TripletEvaluator(["a"], ["b"], ["c"], main_distance_function="dot").main == "dot"


def test_an_argument_without_a_use_is_named(caplog: pytest.LogCaptureFixture) -> None:
    ours.CrossEncoderClassificationEvaluator([["a", "b"]], [1], threshold=0.5)
    assert "ignores the argument threshold" in caplog.text


def test_a_similarity_is_its_name(models: Any) -> None:
    by_name, by_value = (
        ours.TripletEvaluator(["fire"], ["heat"], ["stock"], similarity_fn_names=[kind])
        for kind in ("dot", ours.SimilarityFunction.DOT_PRODUCT)
    )
    assert by_name(models["dense"][0]) == by_value(models["dense"][0])


def test_an_evaluator_of_ones_own() -> None:
    class Mine(ours.BaseEvaluator):
        def __init__(self) -> None:
            super().__init__()
            self.name, self.primary_metric = "set", "share"

        def __call__(self, model: Any, output_path: Any = None, epoch: float = -1, steps: int = -1, **more: Any) -> Any:
            return self.prefix_name_to_metrics({"share": 1, "rest": 0.5}, self.name)

    evaluator = Mine()
    assert evaluator(None) == {"set_share": 1.0, "set_rest": 0.5}
    assert evaluator.primary_metric == "set_share" and evaluator.greater_is_better
    assert ours.SequentialEvaluator([evaluator])(None)["sequential_score"] == 1.0


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

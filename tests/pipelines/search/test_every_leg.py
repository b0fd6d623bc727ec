"""Every kind of leg side by side in one collection: filters, score completion, terms."""

from functools import partial

import pytest

from every_leg import LEGS, TERMS, build_every_leg
from filter_cases import keeps
from indexing.documents import Document
from indexing.errors import InputError
from pipelines import SearchPipeline
from retrieve.reranking.late_interaction import LateInteractionReranker

FIELDS = {"year": "number", "lang": "keyword", "draft": "boolean"}
FILTERS = [
    {"year": {"gte": 2010, "lt": 2014}},
    {"lang": "en", "not": {"draft": True}},
    {"or": [{"lang": {"exists": False}}, {"year": 2003}]},
    {"year": 1900},
    {},
]
QUERIES = ["how to bake a loaf in an oven", "packets lost in a network", "number 7 of the list"]
TOPICS = ["bake bread in an oven", "packets may be lost", "a matrix of values", "a list of numbers", "light and water"]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    made = []
    for number in range(40):
        metadata = {"year": 2000 + number % 17, "draft": number % 3 == 0}
        if number % 4:
            metadata["lang"] = ["en", "de", "fr"][number % 3]
        made.append(Document(f"d{number}", f"Item {number}: {TOPICS[number % 5]}.", f"Number {number % 13}", metadata))
    return made


@pytest.fixture(scope="module")
def collection(tmp_path_factory, documents, tiny_dense, tiny_splade):
    path = tmp_path_factory.mktemp("every") / "collection"
    return build_every_leg(documents, path, tiny_dense, tiny_splade, FIELDS)


@pytest.fixture(scope="module")
def opened(collection, tiny_dense, tiny_splade):
    return partial(SearchPipeline.open, collection, dense=tiny_dense, sparse=tiny_splade)


def found(results) -> dict[str, float]:
    return {result.doc_id: result.score for result in results}


@pytest.mark.parametrize("reranked", [False, True], ids=["", "reranked"])
@pytest.mark.parametrize("legs", [*([name] for name in LEGS), LEGS], ids=[*LEGS, "all"])
def test_a_filter_is_filtering_afterwards_with_infinite_depth(opened, documents, tiny_dense, legs, reranked):
    """Of several legs with a fusion whose scores do not hang on what else was found."""
    reranker = LateInteractionReranker(tiny_dense, weight=0) if reranked else None
    everything, metadata = len(documents), {document.doc_id: document.metadata for document in documents}
    fusion = {"method": "comb-sum", "normalizer": "none"}
    with opened(legs=legs, fusion=fusion, reranker=reranker, candidates=everything, depth=everything) as pipeline:
        for query in QUERIES[: 1 if reranked else 2]:
            whole = found(pipeline.search(query, k=everything))
            assert whole
            for written in FILTERS:
                right = {doc_id: score for doc_id, score in whole.items() if keeps(written, metadata[doc_id])}
                answer = found(pipeline.search(query, k=everything, filter=written))
                assert answer == pytest.approx(right, rel=1e-5, abs=1e-6)
            few = found(pipeline.search(query, k=3, filter=FILTERS[0]))
            right = [score for doc_id, score in whole.items() if keeps(FILTERS[0], metadata[doc_id])]
            assert list(few.values()) == pytest.approx(right[:3], rel=1e-5, abs=1e-6)
            assert 0 < len(found(pipeline.search(query, k=everything, filter=FILTERS[0]))) < everything


@pytest.mark.parametrize("name", LEGS)
def test_every_leg_scores_what_only_others_found(opened, documents, name):
    other = "flat" if name in ("words", "fields") else "words"
    fusion = {"method": "comb-sum", "normalizer": "none", "missing": "score"}
    whole = {}
    for leg in (name, other):
        with opened(legs=[leg]) as pipeline:
            whole[leg] = {query: found(pipeline.search(query, k=len(documents))) for query in QUERIES}
    with opened(legs=[name, other], fusion=fusion, depth=4) as pipeline:
        answers = {query: pipeline.search(query, k=4, explain=True) for query in QUERIES}
    only_scored = 0
    for query, results in answers.items():
        for result in results:
            # A document that shares no term with a query is not found by a leg of terms, which is to say it scores 0.
            true = {leg: whole[leg][query].get(result.doc_id, 0.0) for leg in (name, other)}
            assert result.score == pytest.approx(sum(true.values()), rel=1e-5)
            why = result.explanation.legs
            assert {leg: part.score for leg, part in why.items()} == pytest.approx(true, rel=1e-5)
            assert sum(part.share for part in why.values()) == pytest.approx(1)
            only_scored += sum(part.rank is None for part in why.values())
            assert {leg for leg, part in why.items() if part.rank is not None} == set(result.legs)
    assert only_scored


@pytest.mark.parametrize("name", TERMS)
def test_a_leg_of_weights_says_which_terms_matched(opened, name):
    with opened(legs=[name]) as pipeline:
        answers = pipeline.batch_search({"a": QUERIES[0], "none": "?", "b": QUERIES[1]}, k=3, explain=True)
    for result in [*answers["a"], *answers["b"]]:
        (leg,) = result.explanation.legs.values()
        assert len(leg.terms) > 1 and list(leg.terms) == sorted(leg.terms, key=lambda term: (-term[1], term[0]))
        assert sum(weight for _, weight in leg.terms) == pytest.approx(leg.score, rel=1e-4)


def test_any_number_of_legs_answer_together(opened):
    with opened(depth=20, fusion={"method": "weighted-sum", "missing": "score"}) as pipeline:
        best = pipeline.search("packets may be lost", k=3, explain=True)[0]
    assert set(best.explanation.legs) == set(LEGS)
    assert sum(leg.share for leg in best.explanation.legs.values()) == pytest.approx(1)


def test_a_filter_on_what_nobody_declared_is_refused_whatever_the_leg(opened):
    for name in LEGS:
        with opened(legs=[name]) as pipeline, pytest.raises(InputError, match="declared are year, lang, draft"):
            pipeline.search("bake", filter={"colour": "red"})

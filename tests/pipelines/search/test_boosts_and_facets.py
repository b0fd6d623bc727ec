"""Boosts as a stated part of the score, and counts of declared fields."""

import json

import pytest

from indexing import Document
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.cli import main
from pipelines.search import Boost, Boosts, Facets

FIELDS = {"day": "date", "kind": "keyword", "ok": "boolean"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    path = tmp_path_factory.mktemp("boosts") / "collection"
    documents = [
        Document(
            f"d{number:02}",
            f"red bread number {number}" + (" blue" if number % 2 else ""),
            metadata={
                "day": f"20{10 + number % 10}-01-01",
                "kind": ["news", "blog"] if number % 3 == 0 else "blog",
                **({"ok": number % 2 == 0} if number < 20 else {}),
            },
        )
        for number in range(30)
    ]
    build_collection(documents, path, fields=FIELDS, show_progress=False)
    return path


def test_a_boost_adds_its_weight_of_the_range_of_scores(collection):
    recent = Boost("day", half_life_days=365, weight=0.5, origin="2019-01-01")
    news = Boost("kind", values=["news"], weight=0.25)
    with SearchPipeline.open(collection) as pipeline:
        plain = {hit.doc_id: hit for hit in pipeline.search("red bread blue", k=30)}
        boosted = pipeline.search("red bread blue", k=30, boosts=[recent, news], explain=True)
    spread = max(hit.score for hit in plain.values()) - min(hit.score for hit in plain.values())
    for hit in boosted:
        years = 2019 - int(hit.metadata["day"][:4])
        added = hit.explanation.boosts
        assert added["day"] == pytest.approx(0.5 * spread * 0.5**years, rel=1e-2)
        assert added["kind"] == pytest.approx(0.25 * spread * ("news" in hit.metadata["kind"]))
        assert hit.score == pytest.approx(plain[hit.doc_id].score + sum(added.values()))
        assert hit.explanation.first_stage.rank == plain[hit.doc_id].rank
    assert [hit.score for hit in boosted] == sorted((hit.score for hit in boosted), reverse=True)
    assert boosted[0].doc_id != next(iter(plain))


def test_documents_without_the_field_have_the_stated_value(collection):
    with SearchPipeline.open(collection) as pipeline:
        boost = Boost("ok", values=[True], weight=1, missing=0.5)
        hits = pipeline.search("red blue", k=30, boosts=boost, explain=True)
    added = {hit.doc_id: hit.explanation.boosts["ok"] for hit in hits}
    assert added["d25"] == pytest.approx(added["d02"] / 2)
    assert added["d01"] == 0


def test_hits_below_the_pool_stay_below(collection):
    with SearchPipeline.open(collection) as pipeline:
        plain = [hit.doc_id for hit in pipeline.search("red bread blue", k=30)]
        boosts = Boosts((Boost("kind", values=["news"], weight=5),), pool=10)
        boosted = [hit.doc_id for hit in pipeline.search("red bread blue", k=30, boosts=boosts)]
        pages = [
            hit.doc_id for at in (0, 7, 14) for hit in pipeline.search("red bread blue", 7, offset=at, boosts=boosts)
        ]
    assert set(boosted[:10]) == set(plain[:10]) and boosted[:10] != plain[:10]
    assert boosted[10:] == plain[10:]
    assert pages == boosted[:21]


def test_facets_count_hits_or_every_match(collection):
    with SearchPipeline.open(collection, cache=5) as pipeline:
        hits = pipeline.search("blue", k=3, facets=["kind", "ok"]).facets
        assert hits["over"] == "hits" and hits["documents"] == 15
        assert hits["fields"]["kind"] == [{"value": "blog", "count": 15}, {"value": "news", "count": 5}]
        assert hits["fields"]["ok"] == [{"value": False, "count": 10}]
        everything = Facets(("kind",), over="match")
        assert pipeline.search("blue", facets=everything).facets["documents"] == 30
        assert pipeline.search("blue", facets=everything).cached
        kept = pipeline.search("red +blue", facets=everything, query_syntax="simple", filter={"ok": False}).facets
        assert kept["documents"] == 10
        assert kept["fields"]["kind"] == [{"value": "blog", "count": 10}, {"value": "news", "count": 3}]
        filtered = pipeline.search("red", facets=everything, filter={"ok": True}).facets
        assert filtered["documents"] == 10


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"boosts": [{"field": "kind", "half_life_days": 3}]}, "needs a date field, and 'kind' is a keyword"),
        ({"boosts": [{"field": "zz", "values": [1]}]}, "'zz' is not declared: day, kind, ok"),
        ({"boosts": [{"field": "kind"}]}, "takes either values or half_life_days"),
        ({"boosts": [{"fiel": "kind"}]}, "has no option 'fiel'"),
        ({"boosts": ["kind"]}, "a boost must be an object"),
        ({"facets": ["zz"]}, "the facet 'zz' is not a declared field: day, kind, ok"),
    ],
)
def test_what_cannot_be_boosted_or_counted_is_named(collection, options, problem):
    with SearchPipeline.open(collection) as pipeline, pytest.raises(InputError, match=problem):
        pipeline.search("red", **options)


def test_the_command_line_boosts_counts_and_lists_words(collection, capsys):
    boost = json.dumps({"field": "kind", "values": ["news"], "weight": 5})
    assert main(["search", str(collection), "red", "--boost", boost, "--facet", "kind", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "boost of kind: +" in shown
    assert "kind (of the first 30): blog 30, news 10" in shown
    assert main(["info", str(collection), "--terms", "2", "--count", "blue breads", "--terms-of", "d01", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)
    assert words["totals"]["documents"] == 30
    assert words["counts"] == {
        "blue": {"documents": 15, "occurrences": 15},
        "bread": {"documents": 30, "occurrences": 30},
    }
    assert words["document"]["blue"] == {"occurrences_here": 1, "documents": 15, "occurrences": 15}

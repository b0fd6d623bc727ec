import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from checkpoints import write_bert
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.hits import Hits
from pipelines.mining.candidates import from_hits
from pipelines.mining.filtering import limits_of
from pipelines.mining.from_collection import MiningSettings, mine, read_mined
from pipelines.mining.positives import Positives
from pipelines.mining.relevant_documents import Positive, find_documents, positives_of_pairs
from pipelines.mining.rescoring import RerankerScorer, ScoreCache, cross_scores
from pipelines.training.data import read_columns
from pipelines.training.recipes.rows import read_rows
from retrieve.encoders import DenseEncoder
from retrieve.reranking.late_interaction import LateInteractionReranker

TEXTS = {f"d{at}": f"text {at}" for at in range(20)} | {"copy": "text 0"}


@pytest.fixture(scope="module")
def dense_encoder(tmp_path_factory: pytest.TempPathFactory) -> DenseEncoder:
    return DenseEncoder(write_bert(tmp_path_factory.mktemp("models") / "bert"), dtype="float32", device="cpu")


class Store:
    def contents(self, ids: Sequence[str]) -> list[str]:
        return [TEXTS[doc_id] for doc_id in ids]


class Overlap:
    """Scores a pair by the difference of its numbers, and counts the pairs."""

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, pairs, *, show_progress: bool = False):
        self.asked += len(pairs)
        return np.array([-abs(int(q.split()[-1]) - int(d.split()[-1])) / 20 for q, d in pairs], dtype=np.float32)


QUERIES = {"a": "question 0", "b": "question 10", "none": "question 3"}
RIGHT = {"a": [Positive("text 0", "d0")], "b": [Positive("text 10", "d10"), Positive("text 12", "d12")]}
RUNS = {
    "words": {
        "a": {"d0": 9.0, "d1": 8.0, "copy": 7.5, "d2": 7.0, "d3": 6.0},
        "b": {"d9": 3.0, "d12": 2.0, "d11": 1.0},
    },
    "vectors": {"a": {"d1": 0.9, "d5": 0.8, "d6": 0.7}, "b": {"d10": 0.9, "d9": 0.8, "d13": 0.7, "d14": 0.6}},
}


def run(path: Path, *, scorer=None, **settings):
    settings = {"quotas": {"words": 2, "vectors": 1}} | settings
    summary = mine(
        QUERIES,
        RIGHT,
        Store(),
        RUNS,
        MiningSettings(**settings),
        path,
        scorer=scorer,
        scorer_name="overlap",
        show_progress=False,
    )
    return summary, read_mined(path).to_list()


def test_quotas_ids_positives_and_their_copies(tmp_path):
    summary, rows = run(tmp_path / "mined")
    assert (summary.queries, summary.rows) == (2, 3)
    first = rows[0]
    assert (first["query_id"], first["query"], first["positive_id"]) == ("a", "question 0", "d0")
    # d0 is a positive, the copy has its text, and d1 belongs to the first source that found it.
    assert [first[f"negative_{n}_id"] for n in (1, 2, 3)] == ["d1", "d2", "d5"]
    assert first["negative_3"] == "text 5"
    assert [row["positive_id"] for row in rows[1:]] == ["d10", "d12"]
    assert [rows[1][f"negative_{n}_id"] for n in (1, 2, 3)] == ["d9", "d11", "d13"]


def test_a_scorer_limits_and_lists_what_scores_above_a_positive(tmp_path):
    scorer = Overlap()
    summary, rows = run(
        tmp_path / "mined",
        scorer=scorer,
        quotas={"words": 2, "vectors": 2},
        output_format="labeled-list",
        output_scores=True,
        **limits_of("topk-marginpos", 0.05),
    )
    # The lowest positive of b is text 12 at -0.1: d9 and d11 (-0.05) score above it, d13 (-0.15) is at the margin.
    lines = [json.loads(line) for path in sorted((tmp_path / "mined").glob("suspects-*")) for line in path.open()]
    assert [(line["query_id"], line["doc_id"]) for line in lines] == [("b", "d11"), ("b", "d9")] or [
        (line["query_id"], line["doc_id"]) for line in lines
    ] == [("b", "d9"), ("b", "d11")]
    assert summary.suspects == 2 and "right answers" in str(summary)
    by_query = {row["query_id"]: row for row in rows}
    assert by_query["b"]["positive_id"][1:] == ["d13", "d14"]
    assert by_query["b"]["scores"][1:] == pytest.approx([-0.15, -0.2])
    # Six distinct texts for each query, positives and candidates; the copy does not count.
    assert scorer.asked == 12


def test_a_stopped_run_resumes_and_scores_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.mining.from_collection.QUERIES_AT_ONCE", 1)
    whole, rows = run(tmp_path / "whole", scorer=Overlap(), min_score=-1.0)
    assert whole.resumed == 0

    class Stops(Overlap):
        def predict(self, pairs, *, show_progress: bool = False):
            if pairs[0][0] == "question 10":
                raise KeyboardInterrupt
            return super().predict(pairs)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", scorer=Stops(), min_score=-1.0)
    again = Overlap()
    summary, resumed = run(tmp_path / "run", scorer=again, min_score=-1.0)
    assert (summary.resumed, resumed) == (1, rows)
    assert again.asked == 6
    with pytest.raises(StorageError, match="other settings"):
        run(tmp_path / "run", scorer=again, min_score=-0.5)


def test_random_sampling_is_repeatable(tmp_path):
    same = [run(tmp_path / name, sampling="random", seed=4)[1] for name in ("one", "two")]
    assert same[0] == same[1]
    assert run(tmp_path / "other", sampling="random", seed=5)[1] != same[0]


def test_queries_left_out_are_counted_with_the_source_that_found_too_few(tmp_path):
    summary, _ = run(tmp_path / "one", quotas={"words": 3, "vectors": 1})
    assert "1 query left out: words found 2 of 3" in str(summary)
    assert "1 query without a relevant document left out" in str(summary)
    # What an earlier run left out is part of the summary of the finished folder.
    again, _ = run(tmp_path / "one", quotas={"words": 3, "vectors": 1})
    assert again.resumed == 2 and str(again).replace("  2 queries were done in an earlier run\n", "") == str(summary)
    summary, rows = run(tmp_path / "triplets", quotas={"words": 3, "vectors": 9}, output_format="triplet")
    assert "2 queries with fewer negatives than asked: words found fewer than 3 for 1, vectors fo" in str(summary)
    assert {row["query_id"] for row in rows} == {"a", "b"}


def test_rows_of_other_pairs_or_of_another_state_of_the_collection_are_refused(tmp_path):
    def mine_into(queries=QUERIES, right=RIGHT, collection="one"):
        settings = MiningSettings({"words": 2, "vectors": 1})
        options = {"collection": collection, "show_progress": False}
        return mine(queries, right, Store(), RUNS, settings, tmp_path / "mined", **options)

    assert mine_into().resumed == 0 and mine_into().resumed == 2
    with pytest.raises(StorageError, match="mined with other queries or relevant documents"):
        mine_into(queries=QUERIES | {"a": "question 1"})
    with pytest.raises(StorageError, match="mined with other queries or relevant documents"):
        mine_into(right=RIGHT | {"a": [Positive("text 1", "d1")]})
    with pytest.raises(StorageError, match="mined with another state of the collection"):
        mine_into(collection="two")
    (tmp_path / "mined" / "mining.json").write_text("[")
    with pytest.raises(StorageError, match=r"mining.json is damaged"):
        mine_into()


def test_all_candidates_above_a_positive_are_listed_and_counted(tmp_path):
    found = {f"d{at}": 20.0 - at for at in range(20)}
    settings = MiningSettings({"run": 2}, range_min=3)
    right = {"q": [Positive("text 19", "d19")]}
    options = {"scorer": Overlap(), "scorer_name": "overlap", "show_progress": False}
    summary = mine({"q": "question 0"}, right, Store(), {"run": {"q": found}}, settings, tmp_path, **options)
    lines = [json.loads(line) for line in (tmp_path / "suspects-00000.jsonl").open()]
    assert len(lines) == summary.suspects == 19
    assert "19 of 19 candidates, of 1 query, score above a positive" in str(summary)
    assert [line["score"] for line in lines] == sorted((line["score"] for line in lines), reverse=True)


def test_limits_count_the_candidates_that_were_scored(tmp_path):
    summary, _ = run(tmp_path / "mined", scorer=Overlap(), quotas={"words": 1, "vectors": 1}, max_score=-0.06)
    # a: d1, d2, d3, d5, d6; b: d9, d11, d13, d14. Positives, their copies and empty places are no candidates.
    assert "max_score ruled out 3 of 9 candidates" in str(summary)


def test_few_known_positives_without_a_margin_are_warned_of(tmp_path):
    warned = "1.5 known relevant documents on average and no margin is set"
    assert warned in str(run(tmp_path / "warned")[0])
    assert warned not in str(run(tmp_path / "limited", scorer=Overlap(), max_score=0.0)[0])
    right = {query: [*given, Positive("another right answer")] for query, given in RIGHT.items()}
    settings = MiningSettings({"words": 1, "vectors": 1})
    assert warned not in str(mine(QUERIES, right, Store(), RUNS, settings, tmp_path / "many", show_progress=False))


def test_any_reranker_scores_pairs_by_its_own_scores(dense_encoder):
    pairs = [("water heat", "heat of water"), ("fire", "a cell"), ("water heat", "a cell"), ("fire", "a cell")]
    reranker = LateInteractionReranker(dense_encoder, weight=0.5)
    scores = RerankerScorer(reranker).predict(pairs)
    for (query, text), score in zip(pairs, scores, strict=True):
        vectors = [dense_encoder.encode_tokens(side).vectors for side in (query, text)]
        assert score == pytest.approx((vectors[0] @ vectors[1].T).max(axis=1).mean(), abs=1e-3)


def test_a_mined_folder_without_rows_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"mined holds no rows: too few negatives .*quotas"):
        run(tmp_path / "mined", quotas={"words": 9})
    with pytest.raises(InputError, match="mined holds no rows"):
        read_rows(tmp_path / "mined")


def test_mined_rows_are_training_rows(tmp_path):
    run(tmp_path / "mined", output_format="n-tuple")
    roles, columns = read_columns(read_mined(tmp_path / "mined").select_columns(["query", "positive", "negative_1"]))
    assert roles.inputs == ("query", "positive", "negative_1") and len(columns["query"]) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quotas": {"nothing": 1}}, "no such source"),
        ({"quotas": {"words": 0}}, "not all 0"),
        ({"max_score": 0.5}, "cross-encoder"),
        ({"range_min": 100}, "range_min"),
    ],
)
def test_invalid_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "mined", **settings)
    assert not (tmp_path / "mined").exists()


def test_pairs_with_one_query_are_its_positives():
    queries, right = positives_of_pairs([("q", "a"), ("r", "b"), ("q", "c")])
    assert list(queries.values()) == ["q", "r"]
    assert [positive.text for positive in right[next(iter(queries))]] == ["a", "c"]


def test_positives_are_found_among_the_documents_with_their_title(corpus) -> None:
    positives = {
        "a": [Positive("Computes the eigenvalues of a square  matrix.")],
        "b": [Positive("Sorting Puts the items of a list into ascending order.")],
        "c": [Positive("nowhere")],
    }
    found = find_documents(positives, corpus)
    assert [found[name][0].doc_id for name in "abc"] == ["eig", "sort", None]
    assert found["a"][0].text == "Eigenvalues Computes the eigenvalues of a square matrix."


class TitledStore(list):
    def contents(self, ids: Sequence[str]) -> list[str]:
        by_id = {document.doc_id: document.contents for document in self}
        return [by_id[doc_id] for doc_id in ids]


@pytest.mark.parametrize(
    "text",
    [
        "Vaccines train a system.",
        " Vaccines  train a system.\n",
        "Vaccines Vaccines train a system.",
        "Caf\u00e9",
    ],
)
def test_a_positive_known_by_its_text_is_never_its_own_negative(tmp_path, text):
    store = TitledStore(
        [
            Document("v1", "Vaccines train a system.", "Vaccines"),
            Document("v2", "Vaccines train a system.", "Another title"),
            Document("c1", " Cafe\u0301"),
            Document("c2", "Caf\u00e9"),
            Document("other", "bread"),
        ]
    )
    found = {document.doc_id: 5.0 - at for at, document in enumerate(store)}
    settings = MiningSettings({"run": 4}, output_format="triplet")
    mine({"q": "how"}, {"q": [Positive(text)]}, store, {"run": {"q": found}}, settings, tmp_path, show_progress=False)
    rows = read_mined(tmp_path).to_list()
    same = {"v1", "v2"} if "train" in text else {"c1", "c2"}
    if text.startswith("Vaccines Vaccines"):
        same = {"v1"}
    assert {row["positive_id"] for row in rows} == {min(same)}
    assert {row["negative_id"] for row in rows}.isdisjoint(same) and rows


def test_positives_are_grouped_and_found():
    positives = Positives.of(np.array([1, 0, 1, 1]), np.array([5, 3, 7, 5]), 3)
    assert positives.counts.tolist() == [1, 2, 0]
    assert positives.documents.tolist() == [3, 5, 7]
    mask = positives.mask(np.array([[3, 5, -1], [5, 3, 7], [5, 3, 7]]))
    assert mask.tolist() == [[True, False, False], [True, False, True], [False, False, False]]


def test_a_document_of_several_sources_is_a_candidate_of_each():
    hits = {name: Hits.from_run(found, ["a", "b"]) for name, found in RUNS.items()}
    numbers = {doc_id: at for at, doc_id in enumerate(TEXTS)}
    found = from_hits(hits, numbers, 5)
    for at, name in enumerate(RUNS):
        for row, query in enumerate("ab"):
            alive = np.isfinite(found.scores[row]) & (found.sources[row] == at)
            wanted = [numbers[doc_id] for doc_id in sorted(RUNS[name][query], key=RUNS[name][query].get, reverse=True)]
            assert found.documents[row][alive].tolist() == wanted[:5]


def test_a_source_whose_hits_another_found_too_fills_its_quota(tmp_path):
    """Two sources with the same hits give two documents each, none of them twice, and nothing is reported short."""
    same = {"q": {f"d{at}": 1.0 - at / 10 for at in range(1, 8)}}
    settings = MiningSettings({"one": 2, "two": 2})
    right = {"q": [Positive("text 0", "d0")]}
    summary = mine(
        {"q": "question"}, right, Store(), {"one": same, "two": same}, settings, tmp_path / "m", show_progress=False
    )
    (row,) = read_mined(tmp_path / "m").to_list()
    assert [row[f"negative_{n}_id"] for n in (1, 2, 3, 4)] == ["d1", "d2", "d3", "d4"]
    assert "fewer" not in str(summary) and "found" not in str(summary)


@pytest.mark.parametrize(
    ("scores", "says"),
    [(np.ones((2, 3)), "one score per pair"), (np.array([1.0, np.nan]), "'b' for the query 'q' is NaN")],
)
def test_a_scorer_without_one_number_per_pair_is_refused(scores, says):
    class Wrong:
        def predict(self, pairs, *, show_progress=False):
            return scores

    with pytest.raises(InputError, match=says):
        cross_scores(Wrong(), ["q", "q"], ["a", "b"])


def test_the_score_cache_distinguishes_scorers_and_pairs(tmp_path):
    scorer = Overlap()
    with ScoreCache(tmp_path / "cache", "one") as cache:
        first = cross_scores(scorer, ["question 1"] * 3, ["text 1", "text 4", "text 1"], cache=cache)
        again = cross_scores(scorer, ["question 1"] * 2, ["text 4", "text 9"], cache=cache)
    assert scorer.asked == 3
    assert first.tolist() == [0.0, pytest.approx(-0.15), 0.0] and again[0] == first[1]
    with ScoreCache(tmp_path / "cache", "two") as cache:
        assert np.isnan(cache.get([("question 1", "text 1"), ("question 1tex", "t 1")])).all()
    (tmp_path / "broken").write_text("no database, but long enough to be read as one" * 10)
    with pytest.raises(StorageError, match="delete it"):
        ScoreCache(tmp_path / "broken", "one")

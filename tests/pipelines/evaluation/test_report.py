"""The report: the page's figures equal the results, texts are escaped, and nothing is fetched."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from results_folders import write_results

from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError
from pipelines.evaluation.report import GivenTexts, write_report
from pipelines.evaluation.report.charts import Point, curves, pareto, scatter, signed
from pipelines.evaluation.report.differences import PAGE_VALUES, chosen_values
from pipelines.evaluation.report.facts import Facts, first_ranks, recall_curve, worst_queries
from pipelines.evaluation.results import DatasetResult
from pipelines.measures.evaluate import Scores, evaluate
from pipelines.measures.qrels import Qrels
from pipelines.measures.trec_order import judge_run

EVIL = "</script><script>alert('x')</script> <b>bold</b> & \"quoted\" \u2028"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """HTML parser that checks that elements close in order, and collects tables, texts, scripts and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tables, self.texts, self.addresses, self.scripts, self.hints = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.hints += [given["title"]] if "title" in given else []
        self.addresses += [given[name] for name in ("src", "href", "action", "data") if name in given]
        assert not any(name.startswith("on") for name in given), "an inline handler"
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append((given.get("data-value"), []))
        elif tag == "script":
            self.scripts.append((given, []))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1][1].append(data)
        elif "style" not in self.open:
            self.texts.append(data)
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1][1].append(data)

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture(scope="module")
def collection():
    """Two systems on 30 queries; every third query is hard for both, and texts are hostile."""
    random = np.random.default_rng(5)
    documents = [f"d{number}" for number in range(80)]
    qrels = {
        f"q{q}": {str(d): int(random.integers(1, 3)) for d in random.choice(documents, 3, False)} for q in range(30)
    }
    runs = {}
    for system, skill in (("bm25", 0.3), ("dense<b>", 0.6), ("hybrid", 0.9)):
        runs[system] = {}
        for number, (query_id, judged) in enumerate(qrels.items()):
            scores = {str(d): float(random.random()) for d in random.choice(documents, 40, False)}
            for doc_id in judged:
                if number % 3 and random.random() < skill:
                    scores[doc_id] = 1 + float(random.random())
            runs[system][query_id] = scores
    texts = GivenTexts(
        {query_id: f"{EVIL} what is {query_id}?" for query_id in qrels},
        qrels,
        lambda doc_ids: [f"{EVIL} the text of {doc_id}" for doc_id in doc_ids],
    )
    return runs, qrels, texts


@pytest.fixture(scope="module")
def report(collection, tmp_path_factory):
    runs, qrels, texts = collection
    folder = write_results(
        tmp_path_factory.mktemp("results"),
        {"made up": (runs, qrels)},
        baseline="bm25",
        command="run_beir.py --dataset '<made up>'",
    )
    return write_report(folder, {"made up": texts})


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text("utf-8"))


def results_of(report):
    return json.loads((report.parent / "results.json").read_text("utf-8"))["datasets"]["made up"]


def test_the_table_says_what_the_results_say(report, page):
    systems = results_of(report)["systems"]
    head, *rows = page.tables[0]

    titles = ["".join(text) for _, text in head]
    assert titles == ["system", "nDCG@10", "RR@10", "R@100", "unjudged@10"]
    assert [row[0][0] for row in rows] == list(systems)
    for row, result in zip(rows, systems.values(), strict=True):
        for (value, text), measure in zip(row[1:4], titles[1:], strict=False):
            assert float(value) == result["measures"][measure]
            assert re.sub("[▲▼]", "", "".join(text)) == f"{result['measures'][measure]:.4f}"


def test_marks_and_the_significance_table_say_what_the_tests_said(report, page):
    systems = results_of(report)["systems"]
    significance = page.tables[1]

    for row in significance[1:]:
        name, difference, interval, _, p_t, p_fisher, p_holm, counts = ("".join(text) for _, text in row)
        found = systems[name]["significance"]["nDCG@10"]
        assert difference == f"{found['difference']:+.4f}"
        assert interval == "{:+.4f} to {:+.4f}".format(*found["interval"])
        for shown, value in ((p_t, found["p_t"]), (p_fisher, found["p_fisher"]), (p_holm, found["p_holm"])):
            assert shown == ("< 0.0001" if value < 0.0001 else f"{value:.4f}")
        assert counts == f"{found['wins']} / {found['ties']} / {found['losses']}"
    marked = {row[0][0]: "▲" in "".join(row[1][1]) for row in page.tables[0][1:]}
    expected = {
        name: system["significance"]["nDCG@10"]["p_holm"] < 0.05 if system["significance"] else False
        for name, system in systems.items()
    }
    assert marked == expected
    assert marked["hybrid"] and not marked["bm25"]
    p_holm = systems["hybrid"]["significance"]["nDCG@10"]["p_holm"]
    shown = "< 0.0001" if p_holm < 0.0001 else f"{p_holm:.4f}"
    assert f"better than bm25, p (Holm) {shown}" in page.hints


def test_costs_are_in_the_units_of_their_heads_and_a_missing_one_is_a_dash(page):
    table = next(table for table in page.tables if "".join(table[0][1][1]) == "p50 ms")
    assert ["".join(text) for _, text in table[0]] == ["system", "p50 ms", "p95 ms", "index MB"]
    assert [(value, "".join(text)) for value, text in table[2][1:]] == [
        ("73.5", "73.5"),
        ("30.25", "30.2"),
        ("2.0", "2.0"),
    ]


def test_published_figures_stand_beside_ours(report, page):
    table = next(table for table in page.tables if "".join(table[0][-1][1]) == "source")
    ours = results_of(report)["systems"]["bm25"]["measures"]["nDCG@10"]

    (row,) = table[1:]
    shown = ["bm25", "nDCG@10", f"{ours:.4f}", "0.4321", f"{ours - 0.4321:+.4f}", "a table, 2024"]
    assert ["".join(text) for _, text in row] == shown


@pytest.mark.parametrize(
    ("difference", "text"), [(0.25, "+0.2500"), (-0.25, "-0.2500"), (-0.00001, "0.0000"), (0.00004, "0.0000")]
)
def test_what_is_zero_as_shown_has_no_sign(difference, text):
    assert signed(difference) == text


def test_the_page_says_what_each_leg_was(tmp_path):
    given = {"legs": {"bm25": {"kind": "bm25"}, "dense": {"kind": "dense", "dtype": "float32"}}, "k": 100}
    runs, qrels = {"bm25": {"q": {"d": 1.0}}}, {"q": {"d": 1}}
    folder = write_results(tmp_path, {"tiny": (runs, qrels)}, baseline="bm25", environment=given)

    html = write_report(folder, {}).read_text("utf-8")

    assert "<dt>legs</dt><dd>bm25: kind bm25<br>dense: kind dense, dtype float32</dd>" in html


def test_the_page_draws_differences_from_the_per_query_values(report, page):
    (data,) = [json.loads("".join(text)) for given, text in page.scripts if given.get("type") == "application/json"]

    systems = results_of(report)["systems"]
    assert list(data["values"]) == list(systems)
    for name, measures in data["values"].items():
        stored = json.loads((report.parent / systems[name]["per_query"]).read_text("utf-8"))
        assert data["queries"] == stored["query_ids"]
        for measure, values in measures.items():
            assert values == pytest.approx(stored["measures"][measure], abs=5e-5)


def test_hostile_texts_stay_texts(report, page):
    html = report.read_text("utf-8")

    assert "alert('x')</script> <b>bold</b>" in page.text
    assert "<script>alert" not in html and "<b>bold" not in html and "dense<b>" not in html
    assert len(page.scripts) == 2
    assert "run_beir.py --dataset '<made up>'" in page.text


def test_nothing_is_fetched_and_only_the_pages_own_script_may_run(report, page):
    html = report.read_text("utf-8")

    assert all(address.startswith("#") for address in page.addresses)
    assert "url(" not in html and "@import" not in html
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'") and "'unsafe-inline'; script-src 'sha256-" in policy


def test_worst_queries_show_what_was_wanted_and_what_each_system_gave(collection, page):
    runs, qrels, _ = collection
    shown = re.findall(r"what is (q\d+)\?", page.text)

    scores = {system: evaluate(run, qrels, ["nDCG@10"]) for system, run in runs.items()}
    means = {system: found.means["nDCG@10"] for system, found in scores.items()}
    assert max(means, key=means.get) == "hybrid"
    values = dict(zip(scores["hybrid"].query_ids, scores["hybrid"].per_query["nDCG@10"], strict=True))
    assert len(shown) == 10
    assert [values[query_id] for query_id in shown] == sorted(values.values())[:10]
    table = next(table for table in page.tables if "relevant document" in "".join(table[0][0][1]))
    assert ["".join(text) for _, text in table[0][1:]] == list(runs)
    for row in table[1:]:
        doc_id = re.search(r"the text of (d\d+)", "".join(row[0][1]))[1]
        for (_, rank), run in zip(row[1:], runs.values(), strict=True):
            order = sorted(run[shown[0]], key=run[shown[0]].get, reverse=True)
            assert "".join(rank) == (str(order.index(doc_id) + 1) if doc_id in order else "–")


def test_plots_are_written_as_png_too(report):
    names = {path.name for path in (report.parent / "plots").iterdir()}

    plots = ("differences", "first-relevant", "quality-latency", "quality-size", "recall-depth")
    assert names == {f"made-up-{plot}.png" for plot in plots}
    for path in (report.parent / "plots").iterdir():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


def test_without_texts_the_page_has_what_needs_none(collection, tmp_path):
    runs, qrels, _ = collection
    page = Page(write_report(write_results(tmp_path, {"plain": (runs, qrels)})).read_text("utf-8"))

    assert "Query by query" in page.text and "Quality against latency" in page.text
    assert "worst queries" not in page.text and "Recall by depth" not in page.text and "differs from" not in page.text


def test_texts_come_from_a_document_store_and_a_document_it_lacks_has_none(tmp_path):
    with DocumentStore.create(tmp_path / "documents.sqlite") as store:
        store.upsert([Document("d1", "a short text", "A title"), Document("d2", "another")])
        texts = GivenTexts({"q": "?"}, {"q": {"d1": 1, "lost": 1}}, store.contents)

        assert texts.documents(["lost", "d2", "d1"]) == ["", "another", "A title a short text"]
        assert texts.documents(["d1"]) == ["A title a short text"]


def test_several_datasets_have_their_means_and_a_section_each(collection, tmp_path):
    runs, qrels, texts = collection
    fewer = {name: runs[name] for name in ("bm25", "hybrid")}
    folder = write_results(tmp_path, {"one": (runs, qrels), "two": (fewer, qrels)}, baseline="bm25")

    page = Page(write_report(folder, {"one": texts}).read_text("utf-8"))

    mean = json.loads((folder / "results.json").read_text())["mean"]
    assert "Mean over 2 datasets" in page.text
    assert [float(row[1][0]) for row in page.tables[0][1:]] == [mean[name]["measures"]["nDCG@10"] for name in mean]
    assert ["".join(text) for _, text in page.tables[1][2]][2:] == ["–"]
    assert page.addresses == ["#mean", "#d0", "#d1", "#how"]


def test_a_page_on_many_queries_stays_small(tmp_path):
    queries = [f"query-{number:05}" for number in range(7000)]
    random = np.random.default_rng(1)
    qrels = {query_id: {"good": 1} for query_id in queries}
    runs = {
        f"system-{number}": {
            q: {"good": float(score), "bad": 0.5} for q, score in zip(queries, random.random(7000), strict=True)
        }
        for number in range(6)
    }
    texts = GivenTexts(dict.fromkeys(queries, "what? " * 40), qrels, lambda doc_ids: ["word " * 2000 for _ in doc_ids])
    folder = write_results(tmp_path, {"large": (runs, qrels)})

    report = write_report(folder, {"large": texts})

    assert report.stat().st_size < 2_000_000
    assert "An even sample of 2,000 of 7,000 queries" in Page(report.read_text("utf-8")).text


@pytest.mark.parametrize(("datasets", "systems", "queries"), [(1, 5, 300), (1, 6, 7000), (18, 6, 7000), (15, 30, 1500)])
def test_datasets_share_the_room_for_values_and_keep_the_primary_measure(datasets, systems, queries):
    names = [f"s{number}" for number in range(systems)]
    column = np.linspace(0, 1, queries)
    scores = Scores(tuple(f"q{number}" for number in range(queries)), {f"P@{k}": column for k in range(8)})
    result = DatasetResult("made up", "test", 1, queries, False, {}, {}, {})
    facts = Facts(result, "P@5", "s0", dict.fromkeys(names, scores), share=1 / datasets)

    values = chosen_values(facts, dict.fromkeys(names, 0))

    measures = values["values"]["s0"]
    assert next(iter(measures)) == "P@5" and len(measures["P@5"]) == len(values["queries"]) >= 300
    assert systems * len(measures) * len(values["queries"]) * datasets <= PAGE_VALUES
    if (datasets, queries) == (1, 300):
        assert values["queries"] == list(scores.query_ids) and len(measures) == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ('{"systems": {}}', "has format None; only format 2 can be read"),
        ('{"format": 2, "measures": []}', "is incomplete"),
        ('{"format": 2, "measures": ["RR"], "datasets": {}}', "has no results of any system to report"),
        ("[]", "has format None"),
    ],
)
def test_results_that_cannot_be_reported_are_refused_by_name(tmp_path, text, says):
    (tmp_path / "results.json").write_text(text)

    with pytest.raises(InputError, match=says) as caught:
        write_report(tmp_path)

    assert "results.json" in str(caught.value)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"results\.json does not exist"):
        write_report(tmp_path)


def test_per_query_values_that_do_not_fit_are_refused_by_name(collection, tmp_path):
    runs, qrels, _ = collection
    folder = write_results(tmp_path, {"one": (runs, qrels)})
    (folder / "per_query/one/bm25.json").write_text('{"query_ids": ["q1"], "measures": {"RR@10": [0.5, 1]}}')

    with pytest.raises(InputError, match=r"bm25\.json: 2 values of RR@10 for 1 query"):
        write_report(folder)


def test_the_pareto_front_is_what_nothing_beats_in_both():
    costs = {"a": (1, 0.5), "b": (2, 0.7), "c": (3, 0.6), "d": (2, 0.65), "e": (9, 0.9)}
    points = [Point(name, x, y, 0) for name, (x, y) in costs.items()]

    assert [point.name for point in pareto(points)] == ["a", "b", "e"]


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.0, 1.0], [0.001, 0.0011], [0.9999, 1.0]])
def test_charts_can_be_drawn_of_any_values_inside_their_frame(values):
    points = [Point(f"s{at}", 10.0**at, value, at) for at, value in enumerate(values)]
    lines = {f"s{at}": [(1, value), (10, value)] for at, value in enumerate(values)}
    drawn = scatter(points, x_title="ms", y_title="nDCG", label="x")
    drawn += curves(lines, dict.fromkeys(lines, 0), label="x")

    assert "nan" not in drawn
    heights = [float(y) for y in re.findall(r'cy="([^"]+)"', drawn)]
    assert len(heights) == 3 * len(values) and all(0 <= y <= 320 for y in heights)


def test_recall_curve_and_first_ranks_count_what_measures_count():
    run = {"a": {f"d{n}": float(-n) for n in range(12)}, "b": {"x": 1.0}, "c": {"d0": 1.0, "d1": 0.5}}
    qrels = {"a": {"d0": 1, "d11": 1, "lost": 2}, "b": {"d0": 1}, "c": {"d1": 1}, "d": {"d0": 1}, "e": {"d0": 0}}
    judged = judge_run(run, Qrels.from_dict(qrels))

    curve = recall_curve(judged)

    assert [depth for depth, _ in curve] == [1, 2, 3, 5, 10]
    for depth, value in curve:
        assert value == pytest.approx(evaluate(run, qrels, [f"R@{depth}"]).means[f"R@{depth}"])
    assert first_ranks(judged) == [1, 1, 0, 0, 0, 0, 0, 0, 2]


def test_a_first_relevant_hit_far_down_is_still_one():
    run = {"q": {f"d{number:04}": float(-number) for number in range(1500)}}

    assert first_ranks(judge_run(run, Qrels.from_dict({"q": {"d1400": 1}}))) == [0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_among_equally_bad_queries_come_first_those_that_another_system_answers():
    ids = ("q1", "q2", "q3", "q4")
    scores = {
        "best": Scores(ids, {"RR": np.array([0.0, 1.0, 0.0, 0.5])}),
        "other": Scores(ids, {"RR": np.array([0.0, 0.0, 1.0, 0.0])}),
    }

    assert worst_queries(scores, "best", "RR") == ["q3", "q1", "q4"]

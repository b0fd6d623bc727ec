"""pydocs: docstrings become a test collection, the same each time, whose documents do not contain their query."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines
from indexing.errors import StorageError
from pipelines.evaluation.checks import check_corpus
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.pydocs import build_pydocs, harvest, split_docstring
from pipelines.near_duplicates import NearDuplicates

BUILD = "import sys; from pipelines.evaluation.pydocs import build_pydocs; build_pydocs(sys.argv[1])"
LONG = "Explains in many words what happens to each of the given values, one after another, until none is left over. "
BODY = LONG + "Nothing here says the same thing twice, and all of it belongs to {}."


def package(folder, **files):
    for name, source in files.items():
        path = folder.joinpath(*name.split("__of__")[::-1]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return folder


def docstring(summary, body):
    return f'"""{summary}\n\n{body}\n"""\n'


def function(name, summary, body):
    return f"def {name}():\n    {docstring(summary, body)}\n"


SUMMARIES = {
    "wash": "Clean the dishes with warm water.",
    "dry": "Rub every plate until it shines.",
    "store": "Put glasses back onto their shelf.",
}


class TestHarvest:
    def test_modules_classes_and_functions_go_by_their_qualified_names(self, tmp_path):
        source = (
            docstring("Everything about a tidy kitchen.", BODY.format("module"))
            + "if True:\n    class Sink:\n        "
            + docstring("A basin made of steel.", BODY.format("class"))
            + "        async def fill(self):\n            "
            + docstring("Let hot water run in slowly.", BODY.format("method"))
        )
        package(tmp_path / "kitchen", tap__of__plumbing=source, __init__=docstring("Rooms where meals are made.", BODY))

        pairs = harvest({"kitchen": tmp_path / "kitchen"})

        assert [(pair.name, pair.summary) for pair in pairs] == [
            ("kitchen", "Rooms where meals are made."),
            ("kitchen.plumbing.tap", "Everything about a tidy kitchen."),
            ("kitchen.plumbing.tap.Sink", "A basin made of steel."),
            ("kitchen.plumbing.tap.Sink.fill", "Let hot water run in slowly."),
        ]
        assert pairs[2].body == BODY.format("class")

    def test_the_standard_librarys_names_have_no_package_before_them(self, tmp_path):
        package(tmp_path, dishes="".join(function(name, text, BODY.format(name)) for name, text in SUMMARIES.items()))

        assert [pair.name for pair in harvest({"stdlib": tmp_path})] == ["dishes.dry", "dishes.store", "dishes.wash"]

    @pytest.mark.parametrize(
        "source",
        [
            function("f", "Too short.", BODY),
            function("f", "A summary with enough words in it.", "A body that is too short."),
            function("f", "A summary that comes again.", BODY + " A summary, that comes AGAIN!"),
            function("f", "value (`int`): The number of things that are washed.", BODY),
            function("f", "Parameters of the thing that is washed here.", BODY),
            function("_hidden", "Clean the dishes with warm water.", BODY),
            "def outer():\n    " + function("inner", "Clean the dishes with warm water.", BODY),
            "def broken(:\n",
            "def f(): pass\n",
        ],
        ids=["summary", "body", "given away", "a parameter", "parameters", "private", "local", "syntax", "nothing"],
    )
    def test_what_makes_no_pair_is_dropped_and_its_neighbours_stay(self, tmp_path, source):
        package(tmp_path / "p", bad=source, good=function("wash", SUMMARIES["wash"], BODY.format("good")))

        assert [pair.name for pair in harvest({"p": tmp_path / "p"})] == ["p.good.wash"]

    def test_nearly_equal_summaries_and_equal_bodies_stand_once(self, tmp_path):
        words = "alpha beta gamma delta epsilon zeta eta theta iota"
        source = (
            function("first", f"{words} one.", BODY.format("a"))
            + function("nearly", f"{words.upper()} two!", BODY.format("b"))
            + function("other", "Something else is done in here.", BODY.format("a"))
        )
        package(tmp_path / "p", module=source)

        assert [pair.name for pair in harvest({"p": tmp_path / "p"})] == ["p.module.first"]

    def test_a_name_defined_twice_stands_once(self, tmp_path):
        twice = function("f", SUMMARIES["wash"], BODY.format("a")) + function("f", SUMMARIES["dry"], BODY.format("b"))
        package(tmp_path / "p", module=twice)

        assert [pair.summary for pair in harvest({"p": tmp_path / "p"})] == [SUMMARIES["wash"]]

    def test_no_package_gives_more_than_its_share(self, tmp_path):
        for name in ("p", "q"):
            sources = {
                f"m{n}": function("f", f"Does {name} thing {n} quite {n} well {n * 7}.", BODY.format(f"{name}{n}"))
                for n in range(9)
            }
            package(tmp_path / name, **sources)

        pairs = harvest({"p": tmp_path / "p", "q": tmp_path / "q"}, max_pairs=4)

        assert [pair.package for pair in pairs] == ["p"] * 4 + ["q"] * 4

    def test_test_folders_and_other_peoples_packages_are_not_read(self, tmp_path):
        source = function("wash", SUMMARIES["wash"], BODY)
        package(tmp_path, a__of__tests=source, b__of__test=source, **{"c__of__site-packages": source})

        assert harvest({"stdlib": tmp_path}) == []


@pytest.mark.parametrize(
    ("text", "summary", "rest"),
    [
        ("Do it.", "Do it.", ""),
        ("Do it.\n\nThen rest.", "Do it.", "Then rest."),
        ("Do it now. Then\nwait.\n\nRest.", "Do it now.", "Then wait.\n\nRest."),
        ("Do one thing\n    or another.\n\nRest.", "Do one thing or another.", "Rest."),
        ("Use a list, e.g. Numbers, and go. Next.", "Use a list, e.g. Numbers, and go.", "Next."),
        ("Is it there? Yes.", "Is it there?", "Yes."),
        ("Version 1.5 of it.", "Version 1.5 of it.", ""),
        ("No full stop\n\nRest", "No full stop", "Rest"),
    ],
)
def test_the_summary_is_the_first_sentence_of_the_first_paragraph(text, summary, rest):
    assert split_docstring(text) == (summary, rest)


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefghij") | st.just("longer"), max_size=9), max_size=30),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_near_duplicates_are_what_comparing_all_with_all_finds(sets, threshold):
    near, kept = NearDuplicates(threshold), []

    for words in sets:
        is_new = not any(words | other and len(words & other) >= threshold * len(words | other) for other in kept)
        if words:
            assert near.add(words) is is_new
            if is_new:
                kept.append(words)


@pytest.fixture(scope="module")
def pydocs(tmp_path_factory):
    return build_pydocs(tmp_path_factory.mktemp("data") / "pydocs", show_progress=False)


@pytest.mark.slow
class TestInstalledPackages:
    """The collection of the packages installed here."""

    def test_it_is_a_collection_of_six_thousand_pairs_and_more(self, pydocs):
        test, train = (load_evaluation_set(pydocs, split) for split in ("test", "train"))

        documents = list(test.corpus)
        assert len(documents) >= 6000
        assert len(test.queries) == 1000
        assert len(test.queries) + len(train.queries) == len(documents)
        assert not test.queries.keys() & train.queries.keys()
        for part in (test, train):
            assert set(check_corpus(part.corpus, part.queries, part.qrels).counts().values()) == {0}

    def test_no_document_gives_its_query_away(self, pydocs):
        found = load_evaluation_set(pydocs)
        documents = {document.doc_id: document for document in found.corpus}

        for query_id, (relevant,) in found.qrels.items():
            document = documents[relevant]
            assert document.title == ""
            assert document.metadata["object"] == document.doc_id
            assert " ".join(re.findall(r"[^\W_]+", found.queries[query_id].casefold())) not in " ".join(
                re.findall(r"[^\W_]+", document.text.casefold())
            )

    def test_no_package_swamps_the_others(self, pydocs):
        counts = {}
        for document in load_evaluation_set(pydocs).corpus:
            counts[document.metadata["package"]] = counts.get(document.metadata["package"], 0) + 1

        assert {"stdlib", "numpy", "scipy", "torch", "transformers"} <= counts.keys()
        assert max(counts.values()) <= 1500

    def test_it_is_made_once_for_the_same_packages(self, pydocs):
        before = (pydocs / "corpus.jsonl").stat()

        build_pydocs(pydocs)

        assert (pydocs / "corpus.jsonl").stat() == before

    @pytest.mark.slow
    def test_another_version_makes_it_again_and_the_same_packages_give_the_same_bytes(self, pydocs):
        files = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/train.tsv", "SOURCE.json"]
        before = [(pydocs / name).read_bytes() for name in files]
        source = json.loads((pydocs / "SOURCE.json").read_text())
        (pydocs / "SOURCE.json").write_text(json.dumps(source | {"python": "3.0.0"}))
        (pydocs / "corpus.jsonl").write_text("stale")

        subprocess.run(
            [sys.executable, "-c", BUILD, str(pydocs)],
            check=True,
            cwd=Path(pipelines.__file__).parents[1],
            env=os.environ | {"PYTHONHASHSEED": "1"},
        )

        assert [(pydocs / name).read_bytes() for name in files] == before
        assert sorted(path.name for path in pydocs.parent.iterdir()) == ["pydocs"]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(StorageError, match="is not a pydocs collection"):
        build_pydocs(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"

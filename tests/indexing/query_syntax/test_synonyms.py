import pytest

from indexing import Document
from indexing.errors import InputError
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.query_syntax import Synonyms, parse_query
from pipelines import SearchPipeline, build_collection

FILE = "# Vehicles.\ncar, automobile, motor vehicle\n\nnyc => new york city\n"
TEXTS = {"a": "a red car", "b": "automobile repair", "c": "the motor of a vehicle", "d": "new york city", "e": "york"}


@pytest.fixture
def synonyms(tmp_path):
    (tmp_path / "synonyms.txt").write_text(FILE)
    return Synonyms.load(tmp_path / "synonyms.txt")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Bm25Index.create(tmp_path_factory.mktemp("synonyms") / "index") as index:
        index.upsert(list(TEXTS), list(TEXTS.values()))
        yield index


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Car", "abc"),
        ("motor vehicle", "abc"),
        ("motor", "c"),
        ("nyc", "d"),
        ("new york city", "de"),
        ("in nyc by car", "abcd"),
    ],
)
def test_a_word_finds_its_alternatives_as_a_whole(synonyms, index, query, found):
    assert sorted(index.search([synonyms.expand(query)], 9)[0].doc_ids) == list(found)


@pytest.mark.parametrize(("query", "found"), [("+car -red", "bc"), ("york -nyc", "e"), ("+nyc", "d")])
def test_required_and_excluded_words_have_alternatives_too(synonyms, index, query, found):
    assert sorted(index.search([synonyms.expand(parse_query(query))], 9)[0].doc_ids) == list(found)


def test_only_the_best_alternative_counts(synonyms, index):
    expanded, plain = index.search([synonyms.expand("car")], 9)[0], index.search(["car"], 9)[0]

    assert dict(zip(expanded.doc_ids, expanded.scores, strict=True))["a"] == pytest.approx(plain.scores[0])


def test_a_query_without_synonyms_is_unchanged(synonyms):
    assert synonyms.expand("red herd") == "red herd"
    assert type(synonyms.expand("red herd")) is str
    assert str(synonyms.expand("My Car!")) == "My Car!"


@pytest.mark.parametrize("line", ["car", "a,,b", "=> x", "a =>", "-, !"])
def test_a_wrong_line_is_named(tmp_path, line):
    (tmp_path / "s.txt").write_text(f"a, b\n{line}\n")
    with pytest.raises(InputError, match=r"s\.txt:2: "):
        Synonyms.load(tmp_path / "s.txt")


def test_a_collection_names_its_file(tmp_path):
    documents = [Document(doc_id, text) for doc_id, text in TEXTS.items()]
    build_collection(documents, tmp_path / "c", show_progress=False)
    (tmp_path / "c" / "synonyms.txt").write_text(FILE)
    with SearchPipeline.open(tmp_path / "c", config={"synonyms": "synonyms.txt"}) as pipeline:
        assert {hit.doc_id for hit in pipeline.search("car", explain=True)} == {"a", "b", "c"}
        assert {hit.doc_id for hit in pipeline.search("car +repair", query_syntax="simple")} == {"b"}
    with pytest.raises(InputError, match=r"none\.txt cannot be read"):
        SearchPipeline.open(tmp_path / "c", config={"synonyms": "none.txt"})

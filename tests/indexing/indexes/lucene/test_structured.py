"""Queries in the syntax `simple`, compared with a plain Python model of what they match."""

import random
from itertools import chain

import pytest

from indexing.documents import Document
from indexing.errors import InputError
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.query_syntax import Clause, Group, Leaf, Synonyms, parse_query

WORDS = ["kot", "kots", "lumen", "lumens", "lumeno", "darvik", "darkiv", "pof", "zab", "nikolo"]


def distance(one: str, other: str) -> int:
    """Edits from one word to another: insert, delete, replace, or swap two neighbours."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def holds_phrase(words: list[str], sought: list[str], slop: int) -> bool:
    """True if different words stand in this order, displaced by at most `slop` positions."""
    places = [[at - number for at, word in enumerate(words) if word == one] for number, one in enumerate(sought)]

    def reach(rest: list[list[int]], low: int, high: int) -> bool:
        if high - low > slop:
            return False
        return not rest or any(reach(rest[1:], min(low, at), max(high, at)) for at in rest[0])

    return all(places) and any(reach(places[1:], at, at) for at in places[0])


def matches(node: Group | Leaf, fields: dict[str, list[str]]) -> bool:
    if isinstance(node, Group):
        if any(matches(part, fields) for part in node.of("never")):
            return False
        must, should = node.of("must"), node.of("should")
        found = sum(matches(part, fields) for part in should)
        least = min(node.least, len(should)) or (1 if should and not must else 0)
        return all(matches(part, fields) for part in must) and found >= least
    searched = fields.values() if node.field is None else [fields[node.field]]
    return any(leaf_matches(node, words) for words in searched)


def leaf_matches(leaf: Leaf, words: list[str]) -> bool:
    if leaf.kind == "phrase":
        return holds_phrase(words, leaf.text.split(), leaf.reach)
    if leaf.kind == "prefix":
        return any(word.startswith(leaf.text) for word in words)
    if leaf.kind == "fuzzy":
        return any(word[0] == leaf.text[0] and distance(word, leaf.text) <= leaf.reach for word in words)
    return leaf.text in words


def random_leaf(draw: random.Random, fields: list[str | None]) -> Leaf:
    word, field, boost = draw.choice(WORDS), draw.choice(fields), draw.choice([1.0, 2.0, 0.5])
    kind = draw.choice(["word", "phrase", "prefix", "fuzzy"])
    if kind == "phrase":
        return Leaf(" ".join(draw.sample(WORDS, draw.choice([2, 3]))), kind, field, draw.randrange(5), boost)
    if kind == "prefix":
        return Leaf(word[: draw.randrange(2, 7)], kind, field)
    if kind == "fuzzy":
        return Leaf(word, kind, field, draw.choice([1, 2]) if len(word) > 4 else 1)
    return Leaf(word, "word", field, 0, boost)


def random_group(draw: random.Random, fields: list[str | None], level: int = 0) -> Group:
    clauses = []
    for _ in range(draw.randrange(1, 5)):
        inner = level < 2 and draw.random() < 0.25
        node = random_group(draw, fields, level + 1) if inner else random_leaf(draw, fields)
        clauses.append(Clause(draw.choice(["should", "should", "must", "never"]), node))
    return Group(tuple(clauses), draw.randrange(4) if level else 0, draw.choice([1.0, 3.0]) if level else 1.0)


def build(path, texts: list[tuple[list[str], list[str]]], **options) -> Bm25Index:
    index = Bm25Index.create(path, positions=True, analyzer="whitespace", **options)
    documents = [Document(f"d{at}", " ".join(text) or "-", " ".join(title)) for at, (title, text) in enumerate(texts)]
    index.upsert([document.doc_id for document in documents], documents)
    return index


def check(index: Bm25Index, texts: list[tuple[list[str], list[str]]], root: Group, fielded: bool) -> None:
    written = str(root)[1:-1]
    try:
        query = parse_query(written)
    except InputError as error:
        assert "only exclusions" in str(error)
        return
    documents = {
        f"d{at}": {"title": title, "text": text or ["-"]} if fielded else {"both": [*title, *(text or ["-"])]}
        for at, (title, text) in enumerate(texts)
    }
    expected = {doc_id for doc_id, fields in documents.items() if matches(root, fields)}

    assert set(index.search([query], 50)[0].doc_ids) == expected, written
    constraint = getattr(query, "constraint", None)
    if constraint is not None:
        kept = {doc_id for doc_id, fields in documents.items() if matches(constraint, fields)}
        assert set(index.constrained_ids(query, 50)) == kept, written
        assert index.meets_constraint(query, list(documents)).tolist() == [doc_id in kept for doc_id in documents]


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 150), marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("fielded", [False, True], ids=["one field", "title and text"])
def test_a_query_matches_what_a_plain_model_of_it_matches(tmp_path, fielded, seeds):
    """Over random documents and random trees of every operator."""
    for seed in seeds:
        draw = random.Random(seed)
        texts = [
            (draw.choices(WORDS, k=draw.randrange(3)), draw.choices(WORDS, k=draw.randrange(9))) for _ in range(10)
        ]
        options = {"weights": {"title": 2.0, "text": 1.0}} if fielded else {}
        with build(tmp_path / str(seed), texts, **options) as index:
            for _ in range(20):
                check(index, texts, random_group(draw, [None, "title", "text"] if fielded else [None]), fielded)


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    with Bm25Index.create(tmp_path_factory.mktemp("english") / "index", positions=True) as index:
        index.upsert(
            ["a", "b", "c", "d"],
            [
                "measles vaccine and herd immunity",
                "cats and measles",
                "dogs immune to the herd",
                "vaccinations are happy",
            ],
        )
        yield index


def found(index: Bm25Index, text: str) -> list[str]:
    return sorted(index.search([parse_query(text)], 10)[0].doc_ids)


def test_words_match_as_the_analyzer_makes_them(english):
    assert found(english, "+vaccine") == ["a", "d"]
    assert found(english, "+measel~") == ["a", "b"]
    assert found(english, "+VACCINATION*") == ["a", "d"]
    assert found(english, "+happine*") == []
    assert found(english, "+happy*") == ["d"]


def test_stopwords_are_left_out_wherever_they_stand(english):
    assert found(english, "+the +measles") == ["a", "b"]
    assert found(english, "-the measles") == ["a", "b"]
    assert found(english, '+"measles vaccine and herd"') == ["a"]
    assert found(english, '+"the herd"') == ["a", "c"]
    assert found(english, "+the") == []


def test_a_word_that_the_analyzer_splits_counts_whole_where_it_is_required_or_excluded(english):
    assert found(english, "+happy-vaccine") == ["d"]
    assert found(english, "+happy-measles") == []
    assert found(english, "+herd-immunity") == ["a", "c"]
    assert found(english, "measles -cats-dogs") == ["a", "b"]


def test_scores_of_words_alone_are_those_of_plain_words(english):
    plain = english.search(["measles herd immunity"], 10)
    tree = english.search([parse_query("measles herd (immunity)")], 10)

    assert tree.doc_ids == plain.doc_ids
    assert tree.scores.tolist() == pytest.approx(plain.scores.tolist(), rel=1e-6)


def test_a_boost_multiplies_the_score(english):
    once, thrice = (english.search([parse_query(text)], 1)[0].scores[0] for text in ("+cats", "+cats^3"))

    assert thrice == pytest.approx(3 * once, rel=1e-6)


def test_explanations_name_phrases_prefixes_and_words(english):
    query = parse_query('"herd immunity" measl* -cats')
    hits = english.search([query], 10)

    terms = dict(english.matched_terms([query], hits)[0])
    assert set(terms) == {'"herd immun"', "measl*", "measl"}
    assert sum(terms.values()) == pytest.approx(hits.scores[0], rel=1e-5)


def test_a_phrase_is_refused_where_positions_are_not_stored(tmp_path):
    with Bm25Index.create(tmp_path / "index") as index:
        index.upsert(["a"], ["herd immunity"])
        with pytest.raises(InputError, match=r'"herd immunity" needs the positions of words.*--bm25-positions'):
            index.search([parse_query('"herd immunity"')], 1)
        assert found(index, "+herd -cats") == ["a"]


def test_a_field_is_refused_where_title_and_text_are_one(english):
    with pytest.raises(InputError, match=r"title: is not searched by itself.*--bm25-fields"):
        english.search([parse_query("title:herd")], 1)


def test_plain_scores_do_not_depend_on_stored_positions(tmp_path):
    texts = [" ".join(WORDS[at % 7 : at % 7 + 3] * (at % 3 + 1)) for at in range(30)]
    found = []
    for positions in (False, True):
        with Bm25Index.create(tmp_path / str(positions), positions=positions) as index:
            index.upsert([f"d{at:02}" for at in range(30)], texts)
            hits = index.search(["kot lumen zab"], 30)
            found.append((hits.doc_ids, hits.scores.tolist()))

    assert found[0] == found[1]


def test_nothing_in_a_text_is_markup_or_an_operator_of_lucene(english):
    for text in ("+<TermQuery>", "+a&b;", '+"]]> <x/>"', "+id:a", "+*:*", "+contents:herd", "+/h.*/", "+[a TO z]"):
        found(english, text)
    assert found(english, "+id:a") == []
    assert found(english, "+contents:herd") == []


def test_a_query_with_synonyms_may_have_any_character(tmp_path):
    synonyms = Synonyms({("herd",): ("flock",)})
    with Bm25Index.create(tmp_path / "index") as index:
        index.upsert([f"d{at:03}" for at in range(200)], [f"herd number{at}" for at in range(200)])
        expected = index.search([synonyms.expand("herd number7")], 3)
        for between in ("\x01", " \x01 ", " \ud800 ", "\n"):
            query = synonyms.expand(f"herd{between}number7")
            hits = index.search([query], 3)
            assert (hits.doc_ids, hits.scores.tolist()) == (expected.doc_ids, expected.scores.tolist())
            assert index.rare_hits([query], hits).tolist() == [True, False, False]
            assert index.matched_terms([query], hits) == index.matched_terms([query], expected)


def test_a_batch_of_plain_and_parsed_queries_is_searched_as_each_alone(english):
    queries = ["herd", parse_query("+herd -cats"), parse_query("immun*"), "immunity cats", "", parse_query("-dog cats")]
    hits, alone = english.search(queries, 5), [english.search([query], 5) for query in queries]
    ids = [ranking.doc_ids for ranking in hits]

    assert ids == [one.doc_ids for one in alone]
    assert hits.scores.tolist() == [score for one in alone for score in one.scores.tolist()]
    scores = [english.score([query], [of]).tolist() for query, of in zip(queries, ids, strict=True)]
    assert english.score(queries, ids).tolist() == list(chain.from_iterable(scores))
    terms = [english.matched_terms([query], one) for query, one in zip(queries, alone, strict=True)]
    assert english.matched_terms(queries, hits) == list(chain.from_iterable(terms))


@pytest.mark.parametrize("number", [150, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_string_is_searched_or_refused_in_one_line(english, number):
    """In plain words without an error; in the syntax with hits or one clear line."""
    draw = random.Random(number)
    pieces = [
        *'+-"()~*^:\\<>&;/[]{}!|? ',
        "title:",
        "AND",
        "~2",
        "^3",
        "~99",
        "herd",
        "immunity",
        "cats",
        "\x00",
        "é",
        "日本",
    ]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(1, 25))) for _ in range(number)]
    for text in [*texts, '"' * 1_000_000, "a " * 500_000, "x" * 1_000_000, '"' + "herd " * 900 + '"']:
        english.search([text], 3)
        try:
            found(english, text)
        except InputError as error:
            assert "\n" not in str(error)

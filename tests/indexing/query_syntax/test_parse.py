import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.query_syntax import Clause, Group, Leaf, SyntaxQuery, check_syntax, parse_query

PIECES = [
    *'+-"()~*^:\\',
    *["title:", "text:", "AND", "NOT", "[a TO b]", "/re/", "*:*"],
    *["&&", "||", "!", "{", "~2", "^3", "^-1", "~999999", "^1e9", " ", "\x00", "\x01", "\ud800", "é", "日本", "a"],
]


def fuzzed(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    made = ["".join(draw.choices(PIECES, k=draw.randrange(1, 30))) for _ in range(number)]
    return [*made, '"' * 1_000_000, "(" * 1_000_000, "a " * 500_000, "x" * 1_000_000, "\\" * 100_001, "-+" * 50_000]


def read(text: str) -> SyntaxQuery:
    query = parse_query(text)
    assert isinstance(query, SyntaxQuery)
    return query


def clauses(text: str) -> tuple[Clause, ...]:
    return read(text).root.clauses


def test_every_operator_has_its_node():
    assert clauses('+must -not "a phrase"~3 title:word^2.5 prefi* fuzy~ fuzzzy~2 (a b c)~2^3') == (
        Clause("must", Leaf("must")),
        Clause("never", Leaf("not")),
        Clause("should", Leaf("a phrase", "phrase", reach=3)),
        Clause("should", Leaf("word", field="title", boost=2.5)),
        Clause("should", Leaf("prefi", "prefix")),
        Clause("should", Leaf("fuzy", "fuzzy", reach=1)),
        Clause("should", Leaf("fuzzzy", "fuzzy", reach=2)),
        Clause("should", Group(tuple(Clause("should", Leaf(word)) for word in "abc"), 2, 3.0)),
    )


def test_a_query_is_the_text_of_its_words_without_operators_and_exclusions():
    assert read('+measles -"common cold" "herd immunity"~3 immun* (a -b)^2') == "measles herd immunity immun a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("how do vaccines work?", "how do vaccines work?"),
        ("C++ wi-fi a - b + c", "C++ wi-fi a b c"),
        ('an unclosed "quote', "an unclosed quote"),
        ("NOT AND OR a && b", "NOT AND OR a && b"),
        ("http://x.org foo:bar id:7", "http://x.org foo:bar id:7"),
        (r"\+a \-b \"c\" d\* e\~", '+a -b "c" d* e~'),
        ("a* it~ ^2", "a it"),
    ],
)
def test_what_is_no_operator_where_it_stands_is_a_word(text, words):
    query = parse_query(text)

    assert query == words
    assert not isinstance(query, SyntaxQuery)


def test_a_parenthesis_that_nothing_opens_is_left_out_and_an_unclosed_one_ends_with_the_text():
    assert clauses("a) b (c +d") == (
        Clause("should", Leaf("a")),
        Clause("should", Leaf("b")),
        Clause("should", Group((Clause("should", Leaf("c")), Clause("must", Leaf("d"))))),
    )


def test_the_constraint_is_what_is_required_and_excluded_at_the_top():
    constraint = read("a +b -c (d -e) +(f g)~2").constraint

    assert [occur for occur, _ in constraint.clauses] == ["must", "never", "must"]
    assert read("a (b -c)^2").constraint is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-measles", "has only exclusions"),
        ('+ - "" ()', "no word to search for"),
        ("a " * 2000, "more than 1,024 words"),
        ('"' + "a " * 2000 + '"', "more than 1,024 words"),
        ("(" * 20 + "a", "nested more than 16 deep"),
    ],
)
def test_a_query_without_meaning_or_limits_is_refused(text, problem):
    with pytest.raises(InputError, match=problem):
        parse_query(text)


def test_an_unknown_syntax_is_refused():
    with pytest.raises(InputError, match="query_syntax must be 'plain' or 'simple', not 'lucene'"):
        check_syntax("lucene")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ab+-"()\\~^*: 12title.é\n', max_size=40))
def test_what_a_query_was_read_as_is_read_the_same_again(text):
    try:
        query = parse_query(text)
    except InputError:
        return
    if isinstance(query, SyntaxQuery):
        assert read(query.reading).root == query.root


@pytest.mark.parametrize("number", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_string_is_read_or_refused_in_one_line(number):
    for text in fuzzed(number, seed=number):
        try:
            parse_query(text).encode()
        except InputError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 300

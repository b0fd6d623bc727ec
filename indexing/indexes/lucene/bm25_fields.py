"""BM25 over a title and a text, each by itself: weights, parameters by field, and queries to both.

Anserini's multifield search has one k1 and one b, as a Lucene searcher has one similarity. But the scores that a query
has under one searcher can stand inside another's query, so titles are scored by a second searcher over the same index.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from indexing.errors import InputError
from indexing.indexes.lucene.java_functions import bind, combine, compose, constructor, identity, method
from indexing.indexes.lucene.jvm import java_class

TITLE = "title"
TEXT = "text"
_FIELDS = (TITLE, TEXT)

Parameter: TypeAlias = float | Mapping[str, float]
"""A number for all fields, or one for each: ``{"title": 1.2, "text": 0.9}``."""

_GENERATOR = "io.anserini.search.query.BagOfWordsQueryGenerator"
_SEARCH = "org/apache/lucene/search/"
_QUERY = f"L{_SEARCH}Query;"
_SOURCE = f"L{_SEARCH}DoubleValuesSource;"
_ANALYZER = "Lorg/apache/lucene/analysis/Analyzer;"


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Give the weights of both fields as they are stored."""
    if set(weights) != set(_FIELDS) or not all(0 < weight < float("inf") for weight in weights.values()):
        raise InputError(f"weights must give the title and the text a number above 0 each, not {dict(weights)}")
    return {name: float(weights[name]) for name in _FIELDS}


def checked_parameter(name: str, value: Parameter, highest: float, *, multifield: bool) -> float | dict[str, float]:
    """Give k1 or b as it is stored: a number where it is the same in all fields.

    Raises
    ------
    InputError
        For a number below 0 or above `highest`, for other fields than the title and the text, and for numbers by field
        in an index of one field.
    """
    numbers = value if isinstance(value, Mapping) else {"": value}
    for number in numbers.values():
        if not 0 <= number <= highest or number == float("inf"):
            limits = "between 0 and 1" if highest == 1 else "a number of at least 0"
            raise InputError(f"{name} must be {limits}, not {number}")
    if not isinstance(value, Mapping):
        return float(value)
    if set(value) != set(_FIELDS):
        raise InputError(f"{name} by field must give the title and the text a number each, not {dict(value)}")
    if not multifield:
        raise InputError(f"{name} by field goes with weights: without them title and text are one field")
    by_field = {field: float(value[field]) for field in _FIELDS}
    return by_field if len(set(by_field.values())) > 1 else by_field[TEXT]


def similarity(k1: Parameter, b: Parameter, field: str = TEXT) -> Any:
    """Give Lucene's ``BM25Similarity`` for a field."""
    kind = java_class("org.apache.lucene.search.similarities.BM25Similarity")
    return kind(_of_field(k1, field), _of_field(b, field))


def bag_of_words(field: str, analyzer: Any) -> Any:
    """Give the handle from a text to Anserini's query for a field: each word as often as it stands there."""
    build = method(_GENERATOR, "buildQuery", f"(Ljava/lang/String;{_ANALYZER}Ljava/lang/String;){_QUERY}")
    return bind(build, 0, java_class(_GENERATOR)(), field, analyzer)


def bag_of_words_in_fields(weights: Mapping[str, float], analyzer: Any) -> Any:
    """Give the handle from a text to Anserini's query for several Lucene fields, with the weight of each."""
    boosts, number = java_class("java.util.HashMap")(), java_class("java.lang.Float")
    for field, weight in weights.items():
        boosts.put(field, number(weight))
    build = method(_GENERATOR, "buildQuery", f"(Ljava/util/Map;{_ANALYZER}Ljava/lang/String;){_QUERY}")
    return bind(build, 0, java_class(_GENERATOR)(), boosts, analyzer)


def scored_by(searcher: Any) -> Any:
    """Give the handle from a query to one with the same documents, and the scores that it has under this searcher."""
    source = method(f"{_SEARCH}DoubleValuesSource", "fromQuery", f"({_QUERY}){_SOURCE}", static=True)
    # Bound to a searcher, it stays with that one's similarity wherever it is used.
    rewrite = method(f"{_SEARCH}DoubleValuesSource", "rewrite", f"(L{_SEARCH}IndexSearcher;){_SOURCE}")
    bound = compose(source, bind(rewrite, 1, searcher))
    made = constructor("org/apache/lucene/queries/function/FunctionScoreQuery", f"({_QUERY}{_SOURCE})V")
    return combine(made, identity(), bound)


def weighted(weight: float) -> Any:
    """Give the handle from a query to one whose scores are multiplied by `weight`."""
    return bind(constructor(f"{_SEARCH}BoostQuery", f"({_QUERY}F)V"), 1, java_class("java.lang.Float")(weight))


def summed(first: Any, second: Any) -> Any:
    """Give the handle from a text to the sum of two queries, from the handles to them."""
    pair = method("java.util.List", "of", "(Ljava/lang/Object;Ljava/lang/Object;)Ljava/util/List;", static=True)
    # The best part's score and 1.0 of each other's: their sum.
    most = constructor(f"{_SEARCH}DisjunctionMaxQuery", "(Ljava/util/Collection;F)V")
    return compose(combine(pair, first, second), bind(most, 1, java_class("java.lang.Float")(1.0)))


def _of_field(parameter: Parameter, field: str) -> float:
    """Give the number that counts in a field."""
    return parameter[field] if isinstance(parameter, Mapping) else parameter

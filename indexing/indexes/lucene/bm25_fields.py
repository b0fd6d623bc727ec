"""BM25 over title and text as separate fields: their weights, their parameters, and queries to both.

Anserini's multifield search has a single k1 and b, because a Lucene searcher has a single similarity. But a query can
include the scores that another searcher computes, so a second searcher over the same index scores the titles.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from indexing.errors import InputError
from indexing.indexes.lucene.java_functions import bind, combine, compose, constructor, identity, method
from indexing.indexes.lucene.jvm import java_class

TITLE = "title"
TEXT = "text"
_FIELDS = (TITLE, TEXT)

BM25, LM_DIRICHLET, LM_JELINEK_MERCER = SIMILARITIES = ("bm25", "lm-dirichlet", "lm-jelinek-mercer")
"""How words are scored: BM25, or query likelihood with either smoothing."""

Parameter: TypeAlias = float | Mapping[str, float]
"""One number for all fields, or one for each: ``{"title": 1.2, "text": 0.9}``."""

_GENERATOR = "io.anserini.search.query.BagOfWordsQueryGenerator"
_SEARCH = "org/apache/lucene/search/"
_QUERY = f"L{_SEARCH}Query;"
_SOURCE = f"L{_SEARCH}DoubleValuesSource;"
_ANALYZER = "Lorg/apache/lucene/analysis/Analyzer;"


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Check the weights of both fields and return them in the stored form."""
    if set(weights) != set(_FIELDS) or not all(0 < weight < float("inf") for weight in weights.values()):
        raise InputError(f"weights must hold a number above 0 for title and for text, not {dict(weights)}")
    return {name: float(weights[name]) for name in _FIELDS}


def checked_parameter(name: str, value: Parameter, highest: float, *, multifield: bool) -> float | dict[str, float]:
    """Check k1 or b and return it in the stored form: a single number if all fields have the same.

    Raises
    ------
    InputError
        For a number below 0 or above `highest`, for fields other than title and text, and for numbers by field in an
        index with a single field.
    """
    numbers = value if isinstance(value, Mapping) else {"": value}
    for number in numbers.values():
        if not 0 <= number <= highest or number == float("inf"):
            limits = "between 0 and 1" if highest == 1 else "a number of at least 0"
            raise InputError(f"{name} must be {limits}, not {number}")
    if not isinstance(value, Mapping):
        return float(value)
    if set(value) != set(_FIELDS):
        raise InputError(f"{name} by field must hold a number for title and for text, not {dict(value)}")
    if not multifield:
        raise InputError(f"{name} by field needs weights: without them title and text are a single field")
    by_field = {field: float(value[field]) for field in _FIELDS}
    return by_field if len(set(by_field.values())) > 1 else by_field[TEXT]


def checked_similarity(name: str, mu: float, smoothing: float) -> dict[str, Any]:
    """Check a similarity and return it in the stored form: nothing for BM25.

    Raises
    ------
    InputError
        For an unknown name, or a parameter out of its range.
    """
    if name not in SIMILARITIES:
        raise InputError(f"similarity must be one of {', '.join(SIMILARITIES)}, not {name!r}")
    if not 0 < mu < float("inf"):
        raise InputError(f"mu must be a number above 0, not {mu}")
    if not 0 < smoothing <= 1:
        raise InputError(f"smoothing must be above 0 and at most 1, not {smoothing}")
    parameters = {LM_DIRICHLET: {"mu": float(mu)}, LM_JELINEK_MERCER: {"smoothing": float(smoothing)}}
    return {} if name == BM25 else {"similarity": name, **parameters[name]}


def language_model(settings: Mapping[str, Any]) -> Any:
    """Return Lucene's ``Similarity`` of query likelihood as settings name it; None for BM25."""
    name = settings.get("similarity", BM25)
    if name == BM25:
        return None
    kind, parameter = {
        LM_DIRICHLET: ("LMDirichletSimilarity", "mu"),
        LM_JELINEK_MERCER: ("LMJelinekMercerSimilarity", "smoothing"),
    }[name]
    return java_class(f"org.apache.lucene.search.similarities.{kind}")(settings[parameter])


def bm25_similarity(k1: Parameter, b: Parameter, field: str = TEXT) -> Any:
    """Return Lucene's ``BM25Similarity`` for a field."""
    kind = java_class("org.apache.lucene.search.similarities.BM25Similarity")
    return kind(*(parameter[field] if isinstance(parameter, Mapping) else parameter for parameter in (k1, b)))


def bag_of_words(field: str, analyzer: Any) -> Any:
    """Return the handle from a text to Anserini's query for a field; repeated words count repeatedly."""
    build = method(_GENERATOR, "buildQuery", f"(Ljava/lang/String;{_ANALYZER}Ljava/lang/String;){_QUERY}")
    return bind(build, 0, java_class(_GENERATOR)(), field, analyzer)


def bag_of_words_in_fields(weights: Mapping[str, float], analyzer: Any) -> Any:
    """Return the handle from a text to Anserini's query for several Lucene fields, with the weight of each."""
    boosts, number = java_class("java.util.HashMap")(), java_class("java.lang.Float")
    for field, weight in weights.items():
        boosts.put(field, number(weight))
    build = method(_GENERATOR, "buildQuery", f"(Ljava/util/Map;{_ANALYZER}Ljava/lang/String;){_QUERY}")
    return bind(build, 0, java_class(_GENERATOR)(), boosts, analyzer)


def scored_by(searcher: Any) -> Any:
    """Return the handle from a query to one with the same documents and the scores of this searcher."""
    source = method(f"{_SEARCH}DoubleValuesSource", "fromQuery", f"({_QUERY}){_SOURCE}", static=True)
    # Rewriting with a searcher fixes its similarity, whichever searcher runs the query.
    rewrite = method(f"{_SEARCH}DoubleValuesSource", "rewrite", f"(L{_SEARCH}IndexSearcher;){_SOURCE}")
    bound = compose(source, bind(rewrite, 1, searcher))
    made = constructor("org/apache/lucene/queries/function/FunctionScoreQuery", f"({_QUERY}{_SOURCE})V")
    return combine(made, identity(), bound)


def weighted(weight: float) -> Any:
    """Return the handle from a query to one whose scores are multiplied by `weight`."""
    return bind(constructor(f"{_SEARCH}BoostQuery", f"({_QUERY}F)V"), 1, java_class("java.lang.Float")(weight))


def summed(first: Any, second: Any) -> Any:
    """Return the handle from a text to the sum of two queries; `first` and `second` are the handles to these."""
    pair = method("java.util.List", "of", "(Ljava/lang/Object;Ljava/lang/Object;)Ljava/util/List;", static=True)
    # The maximum plus 1.0 times each other score is the sum.
    most = constructor(f"{_SEARCH}DisjunctionMaxQuery", "(Ljava/util/Collection;F)V")
    return compose(combine(pair, first, second), bind(most, 1, java_class("java.lang.Float")(1.0)))

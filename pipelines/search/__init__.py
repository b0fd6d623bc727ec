"""Search: from a query to ranked, explained documents."""

from pipelines.models import LATE_INTERACTION
from pipelines.search.boosts import Boost, Boosts
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.facets import Facets
from pipelines.search.opening import CONFIGURED
from pipelines.search.pipeline import SearchPipeline
from pipelines.search.refine import Refine
from pipelines.search.results import Explanation, LegExplanation, SearchResult, SearchResults

__all__ = [
    "CONFIGURED",
    "LATE_INTERACTION",
    "Boost",
    "Boosts",
    "Explanation",
    "Facets",
    "LegConfig",
    "LegExplanation",
    "Refine",
    "RerankerConfig",
    "SearchConfig",
    "SearchPipeline",
    "SearchResult",
    "SearchResults",
]

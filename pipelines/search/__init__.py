"""Search: from a query to ranked, explained documents."""

from pipelines.models import LATE_INTERACTION
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from pipelines.search.opening import CONFIGURED
from pipelines.search.pipeline import SearchPipeline
from pipelines.search.refine import Refine
from pipelines.search.results import Explanation, LegExplanation, SearchResult, SearchResults

__all__ = [
    "CONFIGURED",
    "LATE_INTERACTION",
    "Explanation",
    "LegConfig",
    "LegExplanation",
    "Refine",
    "RerankerConfig",
    "SearchConfig",
    "SearchPipeline",
    "SearchResult",
    "SearchResults",
]

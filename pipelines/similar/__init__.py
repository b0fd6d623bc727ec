"""Similar texts in memory: nearest vectors, paraphrases and communities, with sentence-transformers' arguments."""

from pipelines.similar.communities import community_detection
from pipelines.similar.paraphrases import paraphrase_mining, paraphrase_mining_embeddings
from pipelines.similar.semantic_search import semantic_search

__all__ = ["community_detection", "paraphrase_mining", "paraphrase_mining_embeddings", "semantic_search"]

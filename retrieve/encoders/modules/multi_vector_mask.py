"""Choice of the tokens whose vectors are scored in late interaction."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from retrieve.encoders.modules.module import Features, Module

logger = logging.getLogger(__name__)


class MultiVectorMask(Module):
    """Replacement of the attention mask by the mask of tokens that are scored.

    Of a query these are all tokens, including those of its expansion; of a document (and a text without a task) all
    but the words of the skiplist.

    Parameters
    ----------
    skiplist_words
        Tokens that are not scored, such as punctuation.
    skiplist_tasks
        Tasks that the skiplist applies to; a text without a task is a document.
    keep_only_token_ids
        Score no other tokens of documents; None for no such limit.
    """

    config_keys = ("skiplist_words", "skiplist_tasks", "keep_only_token_ids")
    saved_package = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask"
    output = "token_embeddings"

    def __init__(
        self,
        skiplist_words: Sequence[str] | None = None,
        skiplist_tasks: Sequence[str] | None = None,
        keep_only_token_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.skiplist_words = list(skiplist_words or ())
        self.skiplist_tasks = ["document"] if skiplist_tasks is None else list(skiplist_tasks)
        self.keep_only_token_ids = None if keep_only_token_ids is None else list(keep_only_token_ids)
        self._skipped: list[int] = []

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Translate a single task into a list."""
        if isinstance(config.get("skiplist_tasks"), str):
            return config | {"skiplist_tasks": [config["skiplist_tasks"]]}
        return config

    def resolve(self, tokenizer: Any) -> None:
        """Find the ids of the skiplist's words; ignore those that are not tokens of the vocabulary."""
        ids = {word: tokenizer.convert_tokens_to_ids(word) for word in self.skiplist_words}
        unknown = [word for word, token in ids.items() if token == tokenizer.unk_token_id and token is not None]
        unknown = [word for word in unknown if word != tokenizer.unk_token]
        if unknown:
            logger.warning("ignoring skiplist words that are no tokens of the vocabulary: %s", " ".join(unknown))
        self._skipped = sorted({ids[word] for word in ids if word not in unknown and ids[word] is not None})

    def forward(self, features: Features) -> Features:
        """Replace `attention_mask`, bool [texts, tokens]."""
        task, ids = features.get("task"), features["input_ids"]
        scored = features["attention_mask"].bool()
        if task == "query" and "expansion_mask" in features:
            scored = scored | features["expansion_mask"].bool()
        if (task or "document") in self.skiplist_tasks and self._skipped:
            scored = scored & ~torch.isin(ids, torch.tensor(self._skipped, device=ids.device))
        if task != "query" and self.keep_only_token_ids:
            scored = scored & torch.isin(ids, torch.tensor(self.keep_only_token_ids, device=ids.device))
        features["attention_mask"] = scored
        return features

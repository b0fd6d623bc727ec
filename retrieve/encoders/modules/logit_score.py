"""Score of a pair from a language model's logits of "yes" and "no"."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, LoadOptions, Module
from retrieve.encoders.modules.tokenizer import load_tokenizer, quiet


class LogitScore(Module):
    """Logit of one token at the last position, minus that of a second token if given; float32.

    References
    ----------
    Nogueira et al., "Document Ranking with a Pretrained Sequence-to-Sequence Model", 2020 (the idea).
    """

    saved_package = "sentence_transformers.cross_encoder.modules.logit_score"
    config_keys = ("true_token_id", "false_token_id", "module_input_name")
    output = "scores"

    def __init__(
        self, true_token_id: int, false_token_id: int | None = None, module_input_name: str = "causal_logits"
    ) -> None:
        super().__init__()
        self.true_token_id, self.false_token_id = true_token_id, false_token_id
        self.module_input_name = module_input_name

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load the settings; with an empty `config`, use the tokenizer's tokens "yes" and "no"."""
        if config is None or config:
            return super().load(folder, options, config)
        with quiet():
            tokenizer = load_tokenizer(folder, options)
        ids = [tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]
        if {None, tokenizer.unk_token_id} & set(ids):
            raise ModelError(
                f"{folder}: a language model scores pairs by its tokens 'yes' and 'no', and its tokenizer lacks them; "
                "a modules.json with a LogitScore can name other tokens"
            )
        return cls(*ids)

    def forward(self, features: Features) -> Features:
        """Compute `scores` [texts, 1] from `causal_logits` [texts, positions, vocabulary]."""
        last = features[self.module_input_name][:, -1].float()
        scores = last[:, self.true_token_id]
        if self.false_token_id is not None:
            scores = scores - last[:, self.false_token_id]
        features["scores"] = scores[:, None]
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return 1: one score per pair."""
        return 1

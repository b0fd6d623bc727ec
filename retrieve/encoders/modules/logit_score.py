"""From a language model's logits to the score of a pair: how much rather it would say yes than no."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, LoadOptions, Module
from retrieve.encoders.modules.tokenizer import load_tokenizer, quiet


class LogitScore(Module):
    """The logit of one token at the last place, less that of another where there is one; float32.

    References
    ----------
    Nogueira et al., "Document Ranking with a Pretrained Sequence-to-Sequence Model", 2020 (the idea).
    """

    home = "sentence_transformers.cross_encoder.modules.logit_score"
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
        """As every module's; without settings the two tokens are the tokenizer's "yes" and "no"."""
        if config is None or config:
            return super().load(folder, options, config)
        with quiet():
            tokenizer = load_tokenizer(folder, options)
        ids = [tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]
        if {None, tokenizer.unk_token_id} & set(ids):
            raise ModelError(
                f"{folder}: a language model scores pairs by its tokens 'yes' and 'no', and its tokenizer lacks them; "
                "a modules.json with a LogitScore says which tokens stand for them"
            )
        return cls(*ids)

    def forward(self, features: Features) -> Features:
        """Score `causal_logits` [texts, places, vocabulary] into `scores` [texts, 1]."""
        last = features[self.module_input_name][:, -1].float()
        scores = last[:, self.true_token_id]
        if self.false_token_id is not None:
            scores = scores - last[:, self.false_token_id]
        features["scores"] = scores[:, None]
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """One score."""
        return 1

"""Translation: how often the most similar sentence of another language is the translation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.checks import aligned_texts
from pipelines.evaluation.evaluators.vectors import Encoding, mean_sparsity
from retrieve.encoders.similarity import cosines


class TranslationEvaluator(Evaluator):
    """Accuracy of translation retrieval by cosine similarity, from source to target and back."""

    def __init__(
        self,
        source_sentences: Sequence[str],
        target_sentences: Sequence[str],
        show_progress_bar: bool = False,
        batch_size: int = 16,
        name: str = "",
        print_wrong_matches: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.sources, self.targets = aligned_texts(source_sentences=source_sentences, target_sentences=target_sentences)
        self.show_wrong = print_wrong_matches
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = self.file_name("translation_evaluation")

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        sources, targets = self.encoding(model, self.sources), self.encoding(model, self.targets)
        scores = cosines(sources, targets)
        guesses, back = scores.argmax(axis=1), scores.argmax(axis=0)
        # Equal sentences count as the same answer.
        right = np.array([self.targets[at] == self.targets[guess] for at, guess in enumerate(guesses)])
        right_back = np.array([self.sources[at] == self.sources[guess] for at, guess in enumerate(back)])
        if self.show_wrong:
            self._log_wrong(right, guesses, scores)
        there, back_again = float(right.mean()), float(right_back.mean())
        metrics = {
            "src2trg_accuracy": there,
            "trg2src_accuracy": back_again,
            "mean_accuracy": (there + back_again) / 2,
        }
        extra = mean_sparsity(model, sources, targets)
        row = {"src2trg": there, "trg2src": back_again} | extra
        return Result(metrics | extra, "mean_accuracy", row)

    def _log_wrong(self, right: Any, guesses: Any, scores: Any) -> None:
        import logging

        for at in np.flatnonzero(~right):
            logging.getLogger(__name__).info(
                "%r is most similar to %r (%.4f), not to %r (%.4f)",
                self.sources[at],
                self.targets[guesses[at]],
                scores[at, guesses[at]],
                self.targets[at],
                scores[at, at],
            )

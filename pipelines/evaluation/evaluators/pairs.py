"""Base of evaluators of two aligned lists of texts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self, cast

from indexing.inputs import text, texts
from pipelines.evaluation.evaluators.base import Evaluator
from pipelines.evaluation.evaluators.checks import aligned_texts
from pipelines.evaluation.evaluators.vectors import Encoding, similarity_of
from retrieve.encoders.similarity import SIMILARITIES, Similarity, check_similarities


class PairEvaluator(Evaluator):
    """Base class of evaluators of two aligned lists of texts."""

    known_similarities: ClassVar[Sequence[str]] = SIMILARITIES

    def __init__(
        self,
        first: Sequence[str],
        second: Sequence[str],
        encoding: Encoding,
        similarities: Sequence[str],
        main: str | None,
        name: str,
        write_csv: bool,
        names: tuple[str, str] = ("sentences1", "sentences2"),
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.first, self.second = aligned_texts(**dict(zip(names, (first, second), strict=True)))
        self.encoding, self.main = encoding, None if main is None else text(main, "the main similarity")
        kinds = texts(similarities, "similarity_fn_names") or ([main] if main else [])
        self.similarities = check_similarities(kinds, self.known_similarities)

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Self:
        """Create an evaluator from objects with two ``texts`` and a ``label``."""
        listed, make = list(examples), cast("Callable[..., Self]", cls)
        first, second = ([one.texts[at] for one in listed] for at in (0, 1))
        return make(first, second, [one.label for one in listed], **options)

    def named(self, model: Any) -> list[Similarity]:
        """Return the similarities to use: the given ones, else the model's own."""
        return self.similarities or [similarity_of(model)]

    def main_of(self, names: Sequence[str]) -> str:
        """Return the similarity of the primary metric: the given one, else the only one or "max"."""
        return self.main or ("max" if len(names) > 1 else names[0])

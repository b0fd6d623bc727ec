"""Mean squared error between a student's vectors and a teacher's, of aligned texts or of pairs of languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from indexing.errors import InputError
from pipelines.evaluation.evaluators.base import Call, Evaluator, Result
from pipelines.evaluation.evaluators.checks import aligned_texts
from pipelines.evaluation.evaluators.vectors import Encoding, mean_sparsity
from retrieve.encoders.similarity import Vectors


class MSEEvaluator(Evaluator):
    """Mean squared error between a student's and a teacher's vectors, times -100.

    Parameters
    ----------
    source_sentences, target_sentences
        Aligned texts for the teacher and for the student.
    teacher_model
        Encodes the sources, at the first call.
    """

    def __init__(
        self,
        source_sentences: Sequence[str],
        target_sentences: Sequence[str],
        teacher_model: Any = None,
        show_progress_bar: bool = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        *,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.sources, self.targets = aligned_texts(source_sentences=source_sentences, target_sentences=target_sentences)
        self.teacher = teacher_model
        self.encoding = Encoding(batch_size, show_progress_bar, truncate_dim, max_active_dims)
        self.csv_file = f"mse_evaluation_{name}_results.csv"
        self._truth: Any = None

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        if self._truth is None:
            self._truth = self.encoding(self.teacher, self.sources)
        found: Any = self.encoding(model, self.targets)
        mse = 100 * mean_squared_error(found, self._truth)
        extra = mean_sparsity(model, found)
        return Result({"negative_mse": -mse} | extra, "negative_mse", {"MSE": mse} | extra)


class MSEEvaluatorFromDataFrame(Evaluator):
    """Mean of `MSEEvaluator`'s metric over pairs of languages.

    Parameters
    ----------
    dataframe
        Rows of {language: sentence} with the same meaning.
    teacher_model
        Encodes the sentences of each pair's first language, at the first call.
    combinations
        Pairs of languages; rows with a blank sentence are ignored.

    Raises
    ------
    InputError
        When a row lacks a language, or no row has a pair.
    """

    def __init__(
        self,
        dataframe: Sequence[Mapping[str, str]],
        teacher_model: Any,
        combinations: Sequence[tuple[str, str]],
        batch_size: int = 8,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__(name, write_csv=write_csv)
        self.teacher, self.encoding = teacher_model, Encoding(batch_size, truncate_dim=truncate_dim)
        self.pairs = {(source, target): _sentences(dataframe, source, target) for source, target in combinations}
        if not self.pairs:
            raise InputError("combinations has no pair of languages, such as ('en', 'de')")
        self.csv_file = self.file_name("mse_evaluation")
        self._truth: Any = None

    def score(self, model: Any, call: Call) -> Result:
        """Score an encoder."""
        # Pairs share sentences: each is encoded once.
        sources = list(dict.fromkeys(text for texts, _ in self.pairs.values() for text in texts))
        targets = list(dict.fromkeys(text for _, texts in self.pairs.values() for text in texts))
        if self._truth is None:
            self._truth = self.encoding(self.teacher, sources)
        found = self.encoding(model, targets)
        row_of_source, row_of_target = ({text: row for row, text in enumerate(side)} for side in (sources, targets))
        errors = {
            f"{source}-{target}": 100
            * mean_squared_error(
                found[[row_of_target[text] for text in targets_of]],
                self._truth[[row_of_source[text] for text in sources_of]],
            )
            for (source, target), (sources_of, targets_of) in self.pairs.items()
        }
        return Result({"negative_mse": -float(np.mean(list(errors.values())))}, "negative_mse", errors)


def mean_squared_error(vectors: Vectors, truth: Vectors) -> float:
    """Return the mean of the squared differences over rows and dimensions."""
    difference: Any = vectors - truth
    squares = difference.multiply(difference) if issparse(vectors) else difference**2
    return float(squares.mean())


def _sentences(rows: Sequence[Mapping[str, str]], source: str, target: str) -> tuple[list[str], list[str]]:
    for at, row in enumerate(rows):
        missing = next((language for language in (source, target) if language not in row), None)
        if missing is not None:
            raise InputError(f"row number {at} (from 0) has no {missing!r}: it has {', '.join(row)}")
    both = [(row[source], row[target]) for row in rows if row[source].strip() and row[target].strip()]
    if not both:
        raise InputError(f"no row has a sentence in both {source!r} and {target!r}")
    return [one for one, _ in both], [other for _, other in both]

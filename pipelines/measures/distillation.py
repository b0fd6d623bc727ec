"""Divergence of a student's scores from a teacher's, both divided by temperatures."""

import math

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError


def checked_temperatures(temperature: float, student: float | None, teacher: float | None) -> tuple[float, float]:
    """Return the student's and the teacher's temperature; raise InputError for one that is not above 0."""
    chosen = (temperature if student is None else student, temperature if teacher is None else teacher)
    for value in (temperature, *chosen):
        if not 0 < value < math.inf:
            raise InputError(f"a temperature must be a finite number above 0, not {value}")
    return chosen


def kl_divergence(
    student: NDArray[np.floating],
    teacher: NDArray[np.floating],
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> float:
    """Return T² * KL(softmax(teacher / T_teacher) || softmax(student / T)), the sum over the rows, in float64.

    Parameters
    ----------
    student, teacher
        Scores [queries, candidates], or one row [candidates].
    """
    from scipy.special import log_softmax

    own = log_softmax((student / student_temperature).astype(np.float64), axis=-1)
    truth = log_softmax((teacher / teacher_temperature).astype(np.float64), axis=-1)
    return float((np.exp(truth) * (truth - own)).sum()) * student_temperature**2

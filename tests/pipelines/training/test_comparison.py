import pytest

from pipelines.training.recipes.comparison import ALONE, INTERPOLATED, Comparison


@pytest.mark.parametrize(
    ("weight", "gain", "is_gain", "verdict"),
    [
        (0.4, (0.03, 0.01, 0.05), True, "a gain"),
        (0.4, (0.03, -0.01, 0.07), False, "no significant gain"),
        (0.7, (-0.03, -0.05, -0.01), False, "worse than the first stage"),
        (1.0, (0.0, 0.0, 0.0), False, "the first stage alone was best"),
    ],
)
def test_the_verdict_follows_the_interval(
    weight: float, gain: tuple[float, float, float], is_gain: bool, verdict: str
) -> None:
    figures = {"nDCG@10": {"first stage": 0.5, ALONE: 0.4, INTERPOLATED: 0.5 + gain[0]}}
    found = Comparison(150, weight, figures, {ALONE: (-0.1, -0.2, -0.05), INTERPOLATED: gain})
    assert found.is_gain is is_gain
    assert found.carried == (max(0.8, weight) if gain[2] < 0 else weight), "no weight that does harm is carried"
    assert verdict in str(found).splitlines()[-1]

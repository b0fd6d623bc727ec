"""like="ranx", and those of our methods that equal ranx's, against ranx."""

import pytest

from fusing import random_pairs, run
from retrieve.fusion import (
    Borda,
    CombAnz,
    CombMax,
    CombMed,
    CombMin,
    CombMnz,
    CombSum,
    InverseSquareRank,
    LogInverseSquareRank,
    Preset,
    ReciprocalRank,
)

# ranx has no queries without hits.
LEGS = random_pairs(empty=False)


@pytest.fixture(scope="module")
def fuse():
    """Return ranx's `fuse` of our legs, without numba's compilation, which takes longer than the tests."""
    config = pytest.importorskip("numba").config
    before, config.DISABLE_JIT = config.DISABLE_JIT, True
    try:
        ranx = pytest.importorskip("ranx")
        runs = [ranx.Run(leg.to_run([f"q{query:03}" for query in range(len(leg))])) for leg in LEGS]

        def fuse(norm, method, **params):
            fused = ranx.fuse(runs, norm=norm, method=method, params=params or None)
            return [dict(found) for _, found in sorted(fused.run.items())]

        yield fuse
    finally:
        config.DISABLE_JIT = before


def same(ours, theirs):
    # Where ranx divides by 1e-9, scores reach 1e10, so the tolerance is relative too.
    return len(ours) == len(theirs) and all(
        found == pytest.approx(expected, abs=1e-9, rel=1e-9) for found, expected in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize(
    ("method", "norm"),
    [
        (method, norm)
        for method in ("sum", "mnz", "max", "min", "anz", "med", "wsum")
        for norm in ("min-max", "max", "sum", "zmuv", "rank", "none")
    ],
)
def test_methods_of_scores(fuse, method, norm):
    options = {"weights": [0.3, 0.9]} if method == "wsum" else {}
    ours = run(Preset(like="ranx", method=method, options={"norm": norm, **options})(LEGS))
    assert same(ours, fuse(None if norm == "none" else norm, method, **options))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rrf", {}),
        ("rrf", {"k": 5}),
        ("isr", {}),
        ("log_isr", {}),
        ("bordafuse", {}),
        ("w_bordafuse", {"weights": [0.3, 0.9]}),
    ],
)
def test_methods_of_ranks(fuse, method, options):
    ours = run(Preset(like="ranx", method=method, options=options)(LEGS))
    assert same(ours, fuse(None, method, **options))


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (CombSum(normalizer="none"), "sum"),
        (CombMnz(normalizer="none"), "mnz"),
        (CombMax(normalizer="none"), "max"),
        (CombMin(normalizer="none"), "min"),
        (CombAnz(normalizer="none"), "anz"),
        (CombMed(normalizer="none"), "med"),
        (ReciprocalRank(), "rrf"),
        (InverseSquareRank(), "isr"),
        (LogInverseSquareRank(), "log_isr"),
        (Borda(), "bordafuse"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_our_own_methods(fuse, method, name):
    assert same(run(method(LEGS)), fuse(None, name))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieve.reranking.passages import Windows, reduce_passages


def test_windows_cover_every_token_and_share_the_overlap(tiny_cross_encoder):
    words = [f"w{at}" for at in range(50)]
    text = " ".join(words)
    windows = Windows(tiny_cross_encoder, overlap=3)
    [spans] = windows.spans([text])
    cut = windows.cut(text, spans, 10)

    assert all(len(windows.spans([window])[0]) <= 10 for window in cut)
    assert text.startswith(cut[0]) and text.endswith(cut[-1])
    starts = [text.index(window) for window in cut]
    ends = [start + len(window) for start, window in zip(starts, cut, strict=True)]
    assert all(start < end for start, end in zip(starts[1:], ends[:-1], strict=True)), "each begins within the last"


@given(st.integers(0, 60), st.integers(1, 30), st.integers(0, 40))
def test_any_size_and_overlap_reads_each_token_once_at_least(tokens, size, overlap):
    windows = Windows.__new__(Windows)
    windows.overlap = overlap
    text = "x" * tokens
    spans = np.array([[at, at + 1] for at in range(tokens)], np.int64).reshape(-1, 2)
    cut = windows.cut(text, spans, size)
    assert cut and max(map(len, cut)) <= max(size, 0 if tokens else 1)
    assert sum(map(len, cut)) >= tokens
    step = size - min(overlap, size // 2)
    assert len(cut) == 1 or len(cut) == -(-(tokens - size) // step) + 1, "no more windows than are needed"


def test_a_text_that_fits_is_left_alone(tiny_cross_encoder):
    windows = Windows(tiny_cross_encoder)
    for text in ("", " fire  heat ", "日本"):
        [spans] = windows.spans([text])
        assert windows.cut(text, spans, 20) == [text]


def test_the_room_beside_a_query(tiny_cross_encoder):
    windows = Windows(tiny_cross_encoder)
    long = " ".join(["fire"] * 200)
    # 24 tokens, three of them special.
    assert windows.room(["fire", "", long]).tolist() == [16, 16, 6]
    assert windows.room(None).tolist() == [22]


def test_reduce_worked_by_hand():
    scores, starts = np.array([1, 4, 1, 7, 2, 3], np.float32), np.array([0, 3, 4])
    assert reduce_passages(scores, starts, "max").tolist() == [4, 7, 3]
    assert reduce_passages(scores, starts, "mean").tolist() == pytest.approx([2, 7, 2.5])

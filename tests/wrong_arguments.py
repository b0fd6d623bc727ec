"""Wrong values of arguments, and the check that a call refuses them by one line."""

import math
import re
from typing import Any

import numpy as np
import pytest

from indexing.errors import InputError

NAN = math.nan
NOT_TEXTS = [
    "ab",
    {"a": "b"},
    {"a"},
    frozenset("a"),
    b"ab",
    None,
    NAN,
    5,
    np.int64(5),
    [None],
    ["a", b"b"],
    [["a"]],
    [1.5],
]
NOT_WHOLE = ["2", b"2", NAN, math.inf, 2.0, 2.5, np.float64(2), True, np.bool_(True), [2], {2}, {"k": 2}, 0, -1, None]
NOT_NUMBER = ["0.5", b"1", NAN, np.float64("nan"), [0.5], {0.5}, {"a": 1}, True, -math.inf]


def label(value: Any) -> str:
    """Return the name of a case, the same in every process: without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:60]


def cases(functions, values):
    return [
        pytest.param(function, value, id=label(f"{name}-{value!r}"))
        for name, function in functions.items()
        for value in values
    ]


def refused(call, *expected: str) -> str:
    """Check that a call raises an `InputError` of one line with one of these parts; return the message."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert not expected or any(part in message for part in expected), message
    return message

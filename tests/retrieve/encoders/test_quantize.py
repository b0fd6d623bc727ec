import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from indexing.errors import InputError
from retrieve.encoders.quantize import quantize, quantized_type, quantized_width, value_ranges

VECTORS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=2), elements=st.floats(-9, 9, width=32))


@given(VECTORS)
def test_a_byte_loses_at_most_one_part_of_the_range(vectors):
    low, high = value_ranges(vectors)

    restored = low + quantize(vectors, "uint8") * ((high - low) / 255)

    assert (np.abs(restored - vectors) <= (high - low) / 255 * 1.001 + 1e-5).all()
    np.testing.assert_array_equal(quantize(vectors, "int8") + np.int16(128), quantize(vectors, "uint8"))


@given(VECTORS)
def test_a_bit_is_set_for_values_above_zero(vectors):
    bits = np.unpackbits(quantize(vectors, "ubinary"), axis=1, count=vectors.shape[1])

    np.testing.assert_array_equal(bits, vectors > 0)


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_width_and_type_are_known_beforehand(precision):
    for rows in (0, 3):
        found = quantize(np.ones((rows, 13), np.float32), precision)
        assert found.shape == (rows, quantized_width(13, precision)) and found.dtype == quantized_type(precision)


def test_unsupported_input_is_an_error():
    ones = np.ones((1, 4), np.float32)
    with pytest.raises(InputError, match=r"ranges.*sample"):
        quantize(ones, "int8")
    with pytest.raises(InputError, match=r"\[2, 4\]"):
        quantize(ones, "uint8", ranges=np.zeros((2, 3)))
    with pytest.raises(InputError, match="int8"):
        quantize(ones.astype(np.int8), "binary")
    with pytest.raises(InputError, match="int4"):
        quantize(ones, "int4")

from pathlib import Path

import pytest
import torch

from indexing.errors import InputError
from retrieve.encoders.kernels.precision import DTYPES, has_fast_bfloat16, resolve_dtype

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.is_file(), reason="only Linux says what the processor can do in a file")
def test_a_processor_is_fast_in_bfloat16_when_it_has_instructions_for_it():
    flags = set(CPUINFO.read_text().split())

    assert has_fast_bfloat16(CPU) == bool(flags & {"amx_tile", "avx512_bf16"})


def test_auto_is_bfloat16_only_where_it_is_fast():
    assert resolve_dtype("auto", CPU) == (torch.bfloat16 if has_fast_bfloat16(CPU) else torch.float32)
    assert resolve_dtype("auto", torch.device("meta")) == torch.float32


@pytest.mark.parametrize("name", [name for name in DTYPES[1:] if name != "int8"])
def test_a_name_is_that_of_torchs_dtype(name):
    assert str(resolve_dtype(name, CPU)) == f"torch.{name}"


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match=r"auto, float32, bfloat16, float16, int8, not 'int4'"):
        resolve_dtype("int4", CPU)

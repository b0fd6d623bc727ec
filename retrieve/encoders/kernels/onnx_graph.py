"""Graphs for ONNX Runtime, written as bytes: the runtime comes with pyserini, the package that writes graphs does not.

The numbers are those of ONNX's messages in protocol buffers (``onnx.proto``).
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_IR_VERSION = 8
_OPSET = 18
_FLOAT, _FLOAT_ATTRIBUTE, _INT_ATTRIBUTE, _EXTERNAL = 1, 1, 2, 1
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
MICROSOFT = "com.microsoft"
"""Domain of the operations that only ONNX Runtime has."""


class Graph:
    """Graph of operations on float32 arrays [rows, …]; each operation names its outputs."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: dict[str, bytes] = {}
        self.arrays: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an array that the graph holds; return its name."""
        dimensions = b"".join(_number(1, size) for size in value.shape)
        kind = _number(2, _TYPES[value.dtype.name])
        content = _part(9, np.ascontiguousarray(value).tobytes())
        self._constants[name] = dimensions + kind + _part(8, name.encode()) + content
        return name

    def given(self, name: str, value: NDArray[Any]) -> str:
        """Add an array that the session gets under this name, without a copy; return the name."""
        self.arrays[name] = value
        dimensions = b"".join(_number(1, size) for size in value.shape)
        place = _part(13, _part(1, b"location") + _part(2, name.encode()))
        kind = _number(2, _TYPES[value.dtype.name])
        self._constants[name] = dimensions + kind + _part(8, name.encode()) + place + _number(14, _EXTERNAL)
        return name

    def add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: float
    ) -> str:
        """Add an operation of a kind; return the name of its first output."""
        names = [_part(1, name.encode()) for name in inputs] + [_part(2, name.encode()) for name in outputs]
        settings = [_part(5, _attribute(name, value)) for name, value in attributes.items()]
        node = b"".join([*names, _part(4, kind.encode()), *settings, _part(7, domain.encode())])
        self._nodes.append(node)
        return outputs[0]

    def model(self, inputs: dict[str, Sequence[int | None]], outputs: dict[str, Sequence[int | None]]) -> bytes:
        """Return the bytes of the model with these inputs and outputs: names and shapes, None for any size."""
        parts = [_part(1, node) for node in self._nodes]
        parts.append(_part(2, b"graph"))
        parts += [_part(5, constant) for constant in self._constants.values()]
        parts += [_part(11, _value(name, shape)) for name, shape in inputs.items()]
        parts += [_part(12, _value(name, shape)) for name, shape in outputs.items()]
        opsets = [_part(8, _part(1, domain.encode()) + _number(2, version)) for domain, version in _VERSIONS.items()]
        return b"".join([_number(1, _IR_VERSION), _part(7, b"".join(parts)), *opsets])


_VERSIONS = {"": _OPSET, MICROSOFT: 1}


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _part(1, name.encode()) + _number(3, value) + _number(20, _INT_ATTRIBUTE)
    return _part(1, name.encode()) + b"\x15" + struct.pack("<f", value) + _number(20, _FLOAT_ATTRIBUTE)


def _value(name: str, shape: Sequence[int | None]) -> bytes:
    sizes = (_part(2, f"{name}{at}".encode()) if size is None else _number(1, size) for at, size in enumerate(shape))
    dimensions = b"".join(_part(1, size) for size in sizes)
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, _FLOAT) + _part(2, dimensions)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return a whole number from 0 on in groups of seven bits, lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)

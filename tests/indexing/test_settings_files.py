"""Settings as people write them: each value checked against the annotation of its field, each error with its key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from indexing.errors import InputError
from indexing.settings_files import read_dataclass, read_yaml, write_yaml


@dataclass(frozen=True)
class Inner:
    depth: int | None = field(default=None, metadata={"min": 1})


@dataclass(frozen=True)
class Outer:
    name: str = field(metadata={"is": "what it is called"})
    rate: float = field(default=0.5, metadata={"above": 0, "below": 1})
    steps: int = 3
    exact: bool = False
    kind: Literal["flat", "hnsw"] = "flat"
    widths: tuple[int, ...] | None = None
    legs: Mapping[str, Inner] | None = None
    best: Inner = Inner()
    options: Mapping[str, Any] = field(default_factory=dict)


REFERENCES = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '1'] * 9)}]" for n in range(10))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "{" * 3000, "nested deeper than 100 levels"),
        ("a.yaml", "[" * 90 + "]" * 90, None),
        ("a.yaml", "[" * 150 + "]" * 150, "nested deeper than 100 levels"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.json", "[" * 150 + "]" * 150, "nested deeper than 100 levels"),
        ("a.yaml", "&a [*a]", "nested deeper than 100 levels"),
        ("a.yaml", REFERENCES, "has over 1,000,000 values"),
        ("a.json", " " * (9 << 20), "longer than 8 MiB"),
        ("a.json", "1" * 5000, "not JSON"),
        ("a.yaml", "? [a, b]\n: {c: d}\n? {a: b}\n: 1", "not YAML"),
    ],
    ids=list("abcdefghij"),
)
def test_files_without_end_are_refused(tmp_path, name, text, says):
    """A YAML file of 3,000 brackets ended in a RecursionError; one of ten lines could hold billions of values."""
    (tmp_path / name).write_text(text)

    if says is None:
        assert read_yaml(tmp_path / name)
    else:
        with pytest.raises(InputError, match=says):
            read_yaml(tmp_path / name)


def test_a_long_wrong_value_is_shortened_in_the_error():
    with pytest.raises(InputError) as raised:
        read_dataclass(Outer, {"name": ["x" * 100] * 10_000}, "file")
    assert len(str(raised.value)) < 500


def test_every_kind_of_value_is_read():
    content = {
        "name": "a",
        "rate": "2e-5",
        "steps": 4.0,
        "exact": True,
        "kind": "hnsw",
        "widths": [8, 4],
        "legs": {"bm25": {"depth": 2}, "dense": Inner(7)},
        "best": {},
        "options": {"x": [1]},
    }
    assert read_dataclass(Outer, content, "file") == Outer(
        "a", 2e-5, 4, True, "hnsw", (8, 4), {"bm25": Inner(2), "dense": Inner(7)}, Inner(), {"x": [1]}
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "file: the content must be keys with values, not [1]"),
        ({}, "file: name is missing: what it is called"),
        ({"name": 1}, "file: name must be text, not 1"),
        ({"nam": "a"}, "file: unknown key 'nam': known are name, rate, steps"),
        ({"name": "a", "rate": 1}, "file: rate must be a number above 0 and below 1, not 1"),
        ({"name": "a", "rate": float("nan")}, "file: rate must be a number above 0 and below 1, not nan"),
        ({"name": "a", "steps": 1.5}, "file: steps must be a whole number, not 1.5"),
        ({"name": "a", "steps": None}, "file: steps must be a whole number, not None"),
        ({"name": "a", "exact": 1}, "file: exact must be true or false, not 1"),
        ({"name": "a", "kind": "ivf"}, "file: kind must be one of flat, hnsw, not 'ivf'"),
        ({"name": "a", "widths": ["x"]}, "file: widths must be a list of whole numbers, not ['x']"),
        ({"name": "a", "legs": ["bm25"]}, "file: legs must be keys with values, not ['bm25']"),
        ({"name": "a", "legs": {"bm25": {"deth": 1}}}, "file: unknown key 'legs.bm25.deth': known are depth"),
        ({"name": "a", "legs": {"bm25": {"depth": 0}}}, "file: legs.bm25.depth must be a whole number of at least 1"),
        ({"name": "a", "best": {"depth": True}}, "file: best.depth must be a whole number of at least 1, not True"),
    ],
)
def test_an_error_names_the_file_the_key_and_what_is_accepted(content, says):
    with pytest.raises(InputError) as caught:
        read_dataclass(Outer, content, "file")
    assert str(caught.value).startswith(says)


def test_yaml_and_json_are_read_and_yaml_is_written(tmp_path):
    (tmp_path / "a.json").write_text('{"b": 1}')
    write_yaml(tmp_path / "a.yaml", {"b": 1, "a": [2]})
    assert read_yaml(tmp_path / "a.json") == {"b": 1}
    assert (tmp_path / "a.yaml").read_text() == "b: 1\na:\n- 2\n" and read_yaml(tmp_path / "a.yaml")["a"] == [2]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("gone.yaml", None, "gone.yaml cannot be read: No such file"),
        ("a.yaml", b"[", "a.yaml is not YAML: "),
        ("a.json", b"[", "a.json is not JSON: "),
        ("a.yaml", b"\xff", "a.yaml is not YAML: "),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError, match=says):
        read_yaml(tmp_path / name)

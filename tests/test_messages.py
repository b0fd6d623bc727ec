"""Errors of the library are for callers in Python, too."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND_LINE = ("pipelines/commands/", "pipelines/cli.py", "pipelines/service/")
OPTION = re.compile(r"(?<![\w`-])--[a-z][\w-]+")
ASIDE = re.compile(r"\([^()]*\)|`[^`]*`")


def test_errors_of_the_library_name_arguments_and_options_only_beside_them() -> None:
    """An option of the command line stands in brackets after what it sets, or within a whole command."""
    found = []
    for file in sorted(path for name in ("indexing", "retrieve", "pipelines") for path in (ROOT / name).rglob("*.py")):
        place = str(file.relative_to(ROOT))
        if place.startswith(COMMAND_LINE):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                joined = [part for part in ast.walk(node.exc) if isinstance(part, ast.JoinedStr)]
                inner = {id(part) for text in joined for part in ast.walk(text) if part is not text}
                plain = [
                    part for part in ast.walk(node.exc) if isinstance(part, ast.Constant) and id(part) not in inner
                ]
                for message in map(_text, [*joined, *plain]):
                    if OPTION.search(ASIDE.sub("", message)):
                        found.append(f"{place}:{node.lineno}: {message}")
    assert not found


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)


def test_the_rule_finds_an_option_that_stands_alone() -> None:
    assert OPTION.search(ASIDE.sub("", "no --sparse model was given"))
    assert not OPTION.search(ASIDE.sub("", "lower held_out (--held-out), or run `retrieve index --update`"))

"""Messages say 1 document, 2 documents."""

import ast
from pathlib import Path

from indexing.plurals import counted

ROOT = Path(__file__).parents[2]
_TEXT = """
documents queries rows files hits fields legs chunks records problems vectors steps texts pairs ids terms words tokens
bytes characters systems columns candidates passages
"""
NOUNS = set(_TEXT.split())


def test_a_number_goes_with_its_noun():
    assert counted(1, "document") == "1 document"
    assert counted(0, "query") == "0 queries"
    assert counted(1200, "leg") == "1,200 legs"


def test_every_message_writes_numbers_with_their_nouns_by_one_function():
    """A number that is formatted beside a plural reads as "1 documents" once."""
    found = []
    for file in sorted(
        path for package in ("indexing", "retrieve", "pipelines") for path in (ROOT / package).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for value, after in zip(node.values, node.values[1:], strict=False):
                    if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                        noun = str(after.value)[1:].split(" ")[0].rstrip(".,:;)") if str(after.value)[:1] == " " else ""
                        formatted = ast.unparse(value.value)
                        is_number = formatted.startswith("len(") or _is_grouped(value)
                        if noun in NOUNS and is_number:
                            found.append(f"{file.relative_to(ROOT)}:{node.lineno}: {formatted} {noun}")
    assert not found


def _is_grouped(value: ast.FormattedValue) -> bool:
    return isinstance(value.format_spec, ast.JoinedStr) and "," in ast.unparse(value.format_spec)

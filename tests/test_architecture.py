"""docs/architecture.md names every folder and every file of the product, and nothing else."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("indexing", "retrieve", "pipelines", "benchmarks")
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATH = re.compile(rf"`((?:{'|'.join(PRODUCT)}|tests|docs)/[^`\s]*)`")
"""A path from the root of the repository; it may contain wildcards."""
ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
"""The first cell of a table's row."""


def _files() -> list[Path]:
    return [file for folder in PRODUCT for file in sorted((ROOT / folder).rglob("*.py"))]


def _has_row(file: Path, rows: set[str]) -> bool:
    """Look for the file, or for a folder above it; a row of a wildcard stands for the files that match."""
    name = file.relative_to(ROOT)
    return any(name.match(row) or (row.endswith("/") and name.is_relative_to(row)) for row in rows)


@pytest.mark.parametrize("path", sorted(set(PATH.findall(PAGE))))
def test_a_path_on_the_page_exists(path: str) -> None:
    assert any(ROOT.glob(path)), f"docs/architecture.md names {path}, which does not exist"


def test_each_file_has_a_row() -> None:
    rows = {path for cell in ROW.findall(PAGE) for path in PATH.findall(cell)}
    missing = [
        file.relative_to(ROOT).as_posix()
        for file in _files()
        if file.name != "__init__.py" and not _has_row(file, rows)
    ]
    assert not missing, f"add a row to docs/architecture.md for {', '.join(missing)}"


def test_each_package_is_named() -> None:
    named = set(PATH.findall(PAGE))
    folders = {f"{file.parent.relative_to(ROOT).as_posix()}/" for file in _files()}
    assert not folders - named, f"docs/architecture.md does not name {', '.join(sorted(folders - named))}"


def test_no_folder_of_tests_is_left_out(request):
    """pytest leaves folders of some names out, such as `build`."""
    left_out = request.config.getini("norecursedirs")
    folders = {part for file in (ROOT / "tests").rglob("test_*.py") for part in file.relative_to(ROOT).parts}
    assert not [name for name in folders if any(fnmatch(name, pattern) for pattern in left_out)]

"""Rules of ``.gitignore`` files: which entries of a folder are left out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def rules_above(folder: Path) -> list[tuple[str, Any]]:
    """Return the rules of the folders above, up to the root of the repository, if there is one."""
    real = Path(os.path.realpath(folder))
    above = []
    for parent in real.parents:
        above.append(parent)
        if (parent / ".git").exists():
            return [rules for each in reversed(above) if (rules := rules_of(each)) is not None]
    return []


def rules_of(folder: Path) -> tuple[str, Any] | None:
    """Return the real path of a folder with the rules of its ``.gitignore``; None without a readable one."""
    import pathspec

    try:
        text = (folder / ".gitignore").read_text("utf-8", errors="replace")
        return os.path.realpath(folder), pathspec.GitIgnoreSpec.from_lines(text.splitlines())
    except (OSError, ValueError):
        return None


def is_ignored(rules: Sequence[tuple[str, Any]], folder: str, name: str, is_folder: bool) -> bool:
    """Return whether the deepest folder with a rule about this entry of a folder (a real path) excludes it."""
    path = os.path.join(folder, name)  # noqa: PTH118
    for above, spec in reversed(rules):
        decided = spec.check_file(os.path.relpath(path, above) + ("/" if is_folder else "")).include
        if decided is not None:
            return bool(decided)
    return False

"""Markdown tables of untrusted text, which is escaped and never interpreted."""

import html
import math
import re
from collections.abc import Sequence

_MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "\\`*{}[]|~#"} | {"\n": "<br>", "\r": ""})

# Underscores within a word are not Markdown.
_UNDERSCORES = re.compile(r"(?<!\w)_|_(?!\w)")


def shown(text: str, most: int = 300) -> str:
    """Escape text for one cell of a table, truncated to `most` characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return _UNDERSCORES.sub("&#95;", html.escape(cut, quote=False).translate(_MARKS))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, bold: int | None = None) -> str:
    """Return a table of cells; the row number `bold` is in bold."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for at, row in enumerate(rows):
        cells = [f"**{cell}**" if cell and at == bold else cell for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Format a number with four decimals, an integer without decimals, and a very small one with an exponent."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.2e}"

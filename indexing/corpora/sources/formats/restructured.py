"""reStructuredText: the text with its section titles as Markdown headings."""

import re

from indexing.corpora.sources.formats.extracted import Extracted, one_line
from indexing.corpora.sources.formats.plain import decode

_RULE = re.compile(r"([!-/:-@\[-`{-~])\1{1,}[ \t]*$")


def restructured(data: bytes) -> Extracted:
    """Read reStructuredText: an underlined line, with or without a line above it, is a heading.

    As in docutils, the levels follow the order in which the kinds of lines first occur.
    """
    lines = decode(data).split("\n")
    styles: list[tuple[str, bool]] = []
    text: list[str] = []
    title = ""
    number = 0
    while number < len(lines):
        over = bool(_RULE.match(lines[number])) and number + 2 < len(lines)
        at = number + 1 if over else number
        if _is_title(lines, at, over=over and lines[at + 1][:1] == lines[number][:1]):
            style = (lines[at + 1][0], over)
            if style not in styles:
                styles.append(style)
            heading = one_line(lines[at])
            title = title or heading
            text.append(f"{'#' * min(styles.index(style) + 1, 6)} {heading}")
            number = at + 2
        else:
            text.append(lines[number])
            number += 1
    return Extracted("\n".join(text), "rst", title)


def _is_title(lines: list[str], at: int, *, over: bool) -> bool:
    """Return whether the line `at` is a title: text, underlined at its full length, below a rule or an empty line."""
    if at + 1 >= len(lines) or not lines[at].strip() or not _RULE.match(lines[at + 1]):
        return False
    if _RULE.match(lines[at]) or len(lines[at + 1].rstrip()) < len(lines[at].rstrip()):
        return False
    return over or (not lines[at][0].isspace() and (at == 0 or not lines[at - 1].strip()))

"""PDF: the text of each page in reading order, with headings from the document's outline.

PDFium reads the files, the library of Chrome: it is hardened against hostile ones.
"""

import logging
import re
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

from indexing.corpora.sources.formats.extracted import PAGE_BREAK, Extracted, bounded, check_length, one_line
from indexing.errors import InputError

logger = logging.getLogger(__name__)

MOST_PAGES = 20_000
"""Maximum number of pages of a document."""
_HYPHEN = re.compile("[\x02\ufffe\u00ad]\\s*")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LEAST_FILLED = 0.5
"""Least mean width of the rows of running text, as a part of the width of a column."""
_LEAST_ROWS = 3
"""Number of rows in each column from which a page counts as set in columns."""


def pdf(data: bytes) -> Extracted:
    """Read a PDF document.

    Raises
    ------
    InputError
        For one that is damaged, encrypted with a password, or contains only pictures.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise InputError("is encrypted: remove the password") from None
        raise InputError(f"is a damaged PDF: {error}") from None
    try:
        if len(document) > MOST_PAGES:
            raise InputError(f"has {len(document):,} pages, more than {MOST_PAGES:,}: split the file")
        headings = _outline(document)
        pages, size = [], 0
        for number in range(len(document)):
            text = _page(document, number)
            size += len(text)
            check_length(size)
            pages.append(_with_headings(text, headings.get(number, ())))
        if len(document) and not any(page.strip() for page in pages):
            raise InputError("contains no text, only pictures of it (a scan): run text recognition (OCR) first")
        title = one_line(document.get_metadata_value("Title"))
        return Extracted(bounded(f"\n\n{PAGE_BREAK}".join(pages)), "pdf", title)
    except pypdfium2.PdfiumError as error:
        raise InputError(f"is a damaged PDF: {error}") from None
    finally:
        document.close()


def _page(document: Any, number: int) -> str:
    with closing(document[number]) as page, closing(page.get_textpage()) as content:
        text = _in_columns(content, page.get_width()) or content.get_text_bounded()
    text = _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROLS.sub("", text).strip("\n ")


def _in_columns(content: Any, width: float) -> str:
    """Return the text of a page of two columns column by column; empty if the file's own order will do.

    Most programs write one column after the other. Some write row by row, across both columns, and the order of their
    text is no reading order.
    """
    boxes = [content.get_rect(index) for index in range(min(content.count_rects(), 20_000))]
    gutter = _gutter(boxes, width)
    if gutter is None:
        return ""
    sides = [0 if right <= gutter else 1 if left >= gutter else 2 for left, _, right, _ in boxes]
    alternations = sum({one, other} == {0, 1} for one, other in pairwise(sides))
    if alternations < _LEAST_ROWS:
        return ""
    texts = [content.get_text_bounded(*box).strip() for box in boxes]
    parts: list[str] = []
    columns: tuple[list[int], list[int]] = ([], [])
    for index in [*sorted(range(len(boxes)), key=lambda index: -boxes[index][3]), None]:
        if index is not None and sides[index] < 2:
            columns[sides[index]].append(index)
            continue
        # What spans both columns ends them.
        parts += [_lines(column, boxes, texts) for column in columns if column]
        columns = ([], [])
        if index is not None:
            parts.append(texts[index])
    return "\n".join(parts)


def _gutter(boxes: Sequence[tuple[float, ...]], width: float) -> float | None:
    """Return the x of the gap between two columns of running text, or None."""
    best: tuple[int, float] | None = None
    for percent in range(30, 71):
        x = width * percent / 100
        left = [box for box in boxes if box[2] <= x]
        right = [box for box in boxes if box[0] >= x]
        crossing = len(boxes) - len(left) - len(right)
        if min(len(left), len(right)) < _LEAST_ROWS or crossing > 0.2 * len(boxes):
            continue
        # Short cells are a table, which reads row by row.
        width_of_column = min(box[0] for box in right) - min(box[0] for box in left)
        if min(_row_width(left), _row_width(right)) < _LEAST_FILLED * width_of_column:
            continue
        if best is None or crossing < best[0]:
            best = crossing, x
    return None if best is None else best[1]


def _row_width(column: Sequence[tuple[float, ...]]) -> float:
    """Return the mean width of the rows of a column."""
    rows: dict[int, float] = {}
    for left, bottom, right, _ in column:
        rows[round(bottom / 4)] = rows.get(round(bottom / 4), 0.0) + right - left
    return sum(rows.values()) / len(rows)


def _lines(column: Sequence[int], boxes: Sequence[tuple[float, ...]], texts: Sequence[str]) -> str:
    """Join the boxes of a column: those of one height to a line."""
    lines: list[str] = []
    height: float | None = None
    for index in sorted(column, key=lambda index: (-round(boxes[index][1] / 4), boxes[index][0])):
        if height is not None and abs(boxes[index][1] - height) < 4:
            lines[-1] += f" {texts[index]}"
        else:
            lines.append(texts[index])
        height = boxes[index][1]
    return "\n".join(lines)


def _outline(document: Any) -> dict[int, list[tuple[int, str]]]:
    """Return the entries of a document's outline by page: their level from 1 and their title."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        for number, mark in enumerate(document.get_toc(max_depth=6)):
            target = mark.get_dest()
            page = target.get_index() if target is not None else None
            if page is not None and number < MOST_PAGES and (title := one_line(mark.get_title())):
                found.setdefault(page, []).append((mark.level + 1, title))
    except (ValueError, RuntimeError) as error:
        logger.debug("an outline is not readable: %s", error)
    return found


def _with_headings(text: str, headings: Sequence[tuple[int, str]]) -> str:
    """Mark the lines that are entries of the outline as headings; an entry without a line begins the page."""
    lines = text.split("\n")
    above = []
    start = 0
    for level, title in headings:
        marked = f"{'#' * min(level, 6)} {title}"
        wanted = title.casefold()
        at = next((at for at in range(start, len(lines)) if one_line(lines[at]).casefold() == wanted), None)
        if at is None:
            above.append(marked)
        else:
            lines[at] = marked
            start = at + 1
    return "\n".join([*above, *lines])

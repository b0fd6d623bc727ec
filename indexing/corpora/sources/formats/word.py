"""Word documents (.docx): paragraphs, headings, lists, tables, notes and the pages that Word last laid out."""

import re
from collections.abc import Iterator
from typing import Any

from indexing.corpora.sources.formats.archive import Archive, attribute, local
from indexing.corpora.sources.formats.extracted import PAGE_BREAK, Extracted, bounded, one_line
from indexing.errors import InputError

_MAIN = "word/document.xml"
_SKIPPED = frozenset({"del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr"})
_HEADING_NAME = re.compile(r"heading ([1-9])")


def word(data: bytes) -> Extracted:
    """Read a Word document."""
    archive = Archive(data)
    root = archive.xml(_MAIN)
    if root is None:
        raise InputError("is damaged: it has no word/document.xml")
    paged = any(local(element) == "lastRenderedPageBreak" for element in root.iter())
    reader = _Reader(_levels(archive.xml("word/styles.xml")), "lastRenderedPageBreak" if paged else "br")
    body = next((element for element in root if local(element) == "body"), root)
    blocks = list(reader.blocks(body))
    for part in ("word/footnotes.xml", "word/endnotes.xml"):
        notes = archive.xml(part)
        for note in () if notes is None else notes:
            if local(note) and not attribute(note, "type"):
                blocks += reader.blocks(note)
    title, language = core_properties(archive)
    return Extracted(bounded(joined(blocks)), "docx", title or reader.title, language)


def core_properties(archive: Archive) -> tuple[str, str]:
    """Return the title and the language that an Office document states."""
    root = archive.xml("docProps/core.xml")
    found = {} if root is None else {local(element): element.text for element in root}
    return one_line(found.get("title")), one_line(found.get("language"), 35)


def joined(blocks: list[str]) -> str:
    """Join blocks by empty lines, with the page breaks that begin a block before the line."""
    text = "\n\n".join(block for block in blocks if block.strip(" \n"))
    return re.sub(rf"\n*({PAGE_BREAK}+)\n*", r"\n\n\1", text).strip("\n ")


def _levels(styles: Any) -> dict[str, int]:
    """Return the heading level of each style that has one; 0 is the style of the title."""
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in () if styles is None else styles:
        if local(style) != "style":
            continue
        own = attribute(style, "styleId")
        for element in style.iter():
            value = attribute(element, "val")
            match local(element):
                case "name":
                    named = _HEADING_NAME.fullmatch(value.lower())
                    if named or value.lower() == "title":
                        levels[own] = int(named[1]) if named else 0
                case "outlineLvl" if value.isdigit() and int(value) < 9:
                    levels.setdefault(own, int(value) + 1)
                case "basedOn":
                    based[own] = value
    for own, base in based.items():
        if own not in levels and base in levels and levels[base]:
            levels[own] = levels[base]
    return levels


class _Reader:
    """Reader of the paragraphs and tables below an element."""

    def __init__(self, levels: dict[str, int], page_break: str) -> None:
        self._levels = levels
        self._page_break = page_break
        self.title = ""

    def blocks(self, container: Any) -> Iterator[str]:
        """Yield the text of each paragraph and of each row of a table."""
        for element in container:
            match local(element):
                case "p":
                    yield self._paragraph(element)
                case "tbl":
                    yield "\n".join(self._rows(element))
                case "sdt" | "sdtContent" | "ins" | "moveTo" | "customXml" | "smartTag":
                    yield from self.blocks(element)

    def _paragraph(self, paragraph: Any) -> str:
        text = "".join(self._words(paragraph))
        pages = PAGE_BREAK * (len(text) - len(text.lstrip(PAGE_BREAK)))
        style, outline, listed = "", "", False
        for properties in paragraph:
            if local(properties) == "pPr":
                for element in properties:
                    match local(element):
                        case "pStyle":
                            style = attribute(element, "val")
                        case "outlineLvl":
                            outline = attribute(element, "val")
                        case "numPr":
                            listed = True
        level = int(outline) + 1 if outline.isdigit() and int(outline) < 9 else self._levels.get(style)
        text = text[len(pages) :]
        if level is None or not text.strip(PAGE_BREAK + " \n\t"):
            return f"{pages}{'- ' if listed and text.strip() else ''}{text}"
        inner = text.count(PAGE_BREAK)
        heading = one_line(text)
        if level == 0:
            self.title = self.title or heading
        return f"{pages}{PAGE_BREAK * inner}{'#' * min(max(level, 1), 6)} {heading}"

    def _rows(self, table: Any) -> Iterator[str]:
        for row in table:
            if local(row) == "tr":
                cells = [" ".join("\n".join(self.blocks(cell)).split()) for cell in row if local(cell) == "tc"]
                pages = sum(local(element) == self._page_break and self._is_page(element) for element in row.iter())
                yield f"{PAGE_BREAK * min(pages, 1)}{' | '.join(cells)}"
            elif local(row) == "sdt":
                yield from self._rows(row)

    def _words(self, element: Any) -> Iterator[str]:
        for child in element:
            name = local(child)
            if name == self._page_break and self._is_page(child):
                yield PAGE_BREAK
            elif name == "t":
                yield child.text or ""
            elif name == "tab":
                yield "\t"
            elif name in ("br", "cr") and attribute(child, "type") != "page":
                yield "\n"
            elif name == "noBreakHyphen":
                yield "-"
            elif name not in _SKIPPED:
                yield from self._words(child)

    def _is_page(self, element: Any) -> bool:
        return local(element) == "lastRenderedPageBreak" or attribute(element, "type") == "page"

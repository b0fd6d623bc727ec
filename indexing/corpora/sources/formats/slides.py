"""PowerPoint presentations (.pptx): a page a slide, with its title, its texts, tables and notes."""

from collections.abc import Iterator
from typing import Any

from indexing.corpora.sources.formats.archive import Archive, attribute, local
from indexing.corpora.sources.formats.extracted import PAGE_BREAK, Extracted, bounded, one_line
from indexing.corpora.sources.formats.word import core_properties
from indexing.errors import InputError

_MAIN = "ppt/presentation.xml"
_TITLES = ("title", "ctrTitle")
_LEFT_OUT = ("sldNum", "dt", "ftr", "hdr", "sldImg")


def slides(data: bytes) -> Extracted:
    """Read a presentation, in the order of its slides."""
    archive = Archive(data)
    root = archive.xml(_MAIN)
    if root is None:
        raise InputError("is damaged: it has no ppt/presentation.xml")
    related = archive.related(_MAIN)
    listed = [_link(element) for element in root.iter() if local(element) == "sldId"]
    pages, first = [], ""
    for _, target in (related[link] for link in listed if link in related):
        slide = archive.xml(target)
        if slide is None:
            continue
        title, parts = _texts(slide)
        first = first or title
        for kind, notes in archive.related(target).values():
            spoken = archive.xml(notes) if kind == "notesSlide" else None
            if spoken is not None:
                parts += _texts(spoken)[1]
        pages.append("\n\n".join([f"# {title}"] * bool(title) + parts))
    title, language = core_properties(archive)
    # Programs name presentations by default; the first slide says more.
    title = first if title.lower() in ("", "powerpoint presentation") else title
    return Extracted(bounded(f"\n\n{PAGE_BREAK}".join(pages)), "pptx", title, language)


def _link(element: Any) -> str:
    """Return the relationship of a slide: the attribute ``r:id``, beside the number ``id``."""
    return next((value for key, value in element.attrib.items() if key.endswith("}id")), "")


def _texts(slide: Any) -> tuple[str, list[str]]:
    """Return the title of a slide, and its other texts in their order."""
    title, parts = "", []
    for shape in slide.iter():
        name = local(shape)
        if name == "sp":
            kind = next((attribute(mark, "type") for mark in shape.iter() if local(mark) == "ph"), "")
            text = "\n".join(_paragraphs(shape))
            if kind in _TITLES and not title:
                title = one_line(text)
            elif kind not in _LEFT_OUT and text.strip():
                parts.append(text)
        elif name == "tbl":
            rows = ([" ".join(_paragraphs(cell)) for cell in row if local(cell) == "tc"] for row in shape)
            parts.append("\n".join(" | ".join(cells) for cells in rows if cells))
    return title, parts


def _paragraphs(shape: Any) -> Iterator[str]:
    for paragraph in shape.iter():
        if local(paragraph) == "p":
            words = (
                "\n" if local(run) == "br" else run.text or "" for run in paragraph.iter() if local(run) in ("t", "br")
            )
            if (text := "".join(words)).strip():
                yield text

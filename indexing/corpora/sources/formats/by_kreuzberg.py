"""Office files, PDFs and e-books read by the package kreuzberg, in place of the project's own readers."""

import importlib.util
from collections.abc import Mapping

from indexing.corpora.sources.formats.extracted import PAGE_BREAK, Extracted, bounded, one_line
from indexing.errors import InputError

_OFFICE = "application/vnd.openxmlformats-officedocument"
KREUZBERG_TYPES: Mapping[str, str] = {
    ".pdf": "application/pdf",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".doc": "application/msword",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".rtf": "application/rtf",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".ppt": "application/vnd.ms-powerpoint",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".xls": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".epub": "application/epub+zip",
}
"""The media type of each extension that it reads."""


def check_kreuzberg() -> None:
    """Raise an `InputError` when the package is not installed."""
    if importlib.util.find_spec("kreuzberg") is None:
        raise InputError("the reader kreuzberg needs the package: pip install 'retrieve-rerank[kreuzberg]'")


def by_kreuzberg(data: bytes, suffix: str) -> Extracted:
    """Read a file of one of `KREUZBERG_TYPES`; no text recognition, and no model, is used.

    Raises
    ------
    InputError
        When kreuzberg cannot read it, in its words.
    """
    import kreuzberg

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        output_format="markdown",
        pages=kreuzberg.PageConfig(extract_pages=True),
    )
    try:
        result = kreuzberg.extract_bytes_sync(data, KREUZBERG_TYPES[suffix], config)
    except (kreuzberg.KreuzbergError, RuntimeError, ValueError, OSError) as error:
        raise InputError(f"cannot be read by kreuzberg: {one_line(str(error))}") from None
    pages = [str(page["content"]).strip() for page in result.pages or []]
    # Pages without text would leave a text of page breaks alone.
    text = f"\n{PAGE_BREAK}\n".join(pages) if suffix == ".pdf" and any(pages) else result.content
    text = text.replace("\r\n", "\n")
    title = result.metadata.get("title")
    stated = title if isinstance(title, str) and title.casefold() != "untitled" else ""
    return Extracted(bounded(text), suffix[1:], one_line(stated))

"""E-books (.epub): the chapters in reading order."""

import posixpath
from urllib.parse import unquote

from indexing.corpora.sources.formats.archive import Archive, local
from indexing.corpora.sources.formats.extracted import Extracted, bounded, one_line
from indexing.corpora.sources.formats.html_page import html
from indexing.errors import InputError


def book(data: bytes) -> Extracted:
    """Read an e-book; raise an `InputError` for one whose text is encrypted (DRM)."""
    archive = Archive(data)
    container = archive.xml("META-INF/container.xml")
    files = [element.get("full-path", "") for element in (() if container is None else container.iter("{*}rootfile"))]
    package = archive.xml(files[0]) if files else None
    if package is None:
        raise InputError("is damaged: it names no package of its chapters")
    if b"EncryptedData" in archive.read("META-INF/encryption.xml") and "META-INF/rights.xml" in archive:
        raise InputError("is encrypted (DRM)")
    items = {item.get("id"): item for item in package.iter("{*}item")}
    chapters = []
    for reference in package.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or "html" not in item.get("media-type", "") or "nav" in item.get("properties", "").split():
            continue
        name = posixpath.normpath(posixpath.join(posixpath.dirname(files[0]), unquote(item.get("href", ""))))
        chapters.append(html(archive.read(name)).text)
    stated = {local(element): element.text for element in package.iter() if local(element) in ("title", "language")}
    text = bounded("\n\n".join(chapter for chapter in chapters if chapter))
    return Extracted(text, "epub", one_line(stated.get("title")), one_line(stated.get("language"), 35))

"""A handbook of more than 60 files in all formats, made by real writers, and what is expected of each."""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

TOPICS = ("vaccines", "bread", "tides", "glaciers", "violins", "bridges", "honey", "compilers", "maps")


@dataclass(frozen=True)
class Expected:
    """The format and title that a file must be read with, and words that its chunks must hold."""

    format: str
    title: str
    words: tuple[str, ...] = ()
    headings: tuple[tuple[str, str], ...] = ()
    """A word, and the heading above the chunk that contains it."""
    pages: tuple[tuple[str, int], ...] = ()
    """A word, and the page on which it stands."""
    absent: tuple[str, ...] = ()


def write_handbook(folder: Path) -> dict[str, Expected]:
    """Write the files; return what is expected of them by their path."""
    files: list[tuple[str, bytes | str, Expected]] = []
    for number, topic in enumerate(TOPICS):
        files += [*_texts(topic, f"{topic}{number}"), _office(topic, f"{topic}{number}", number % 5)]
    files += _encodings()
    for name, data, _ in files:
        write(folder / name, data)
    return {name: expected for name, _, expected in files}


def write(path: Path, data: bytes | str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _texts(topic: str, key: str) -> Iterator[tuple[str, bytes | str, Expected]]:
    """Yield the path, the content and what is expected of a file in each format of texts."""
    text = f"---\ntitle: 'All about {topic}'\n---\n# Basics\n\nOn {key}md.\n\n## Care\n\nKeep {key}care.\n"
    headings = ((f"{key}care", "Care"),)
    yield f"guides/{topic}.md", text, Expected("markdown", f"All about {topic}", (f"{key}md",), headings)
    text = f"Plain words on {key}txt.\n\n# not a heading\n"
    yield f"notes/{topic}.txt", text, Expected("text", topic, (f"{key}txt", "# not a heading"))
    text = f"=====\nTitle\n=====\n\n{topic}\n--------------\n\nSee {key}rst::\n\n    code\n"
    yield f"reference/{topic}.rst", text, Expected("rst", "Title", (), ((f"{key}rst", topic),))
    headings, absent = ((f"{key}html", "Details"),), ("Home", "Accept", "Copyright", "tracker", "Subscribe")
    expected = Expected("html", f"Page of {topic}", ("one | two",), headings, absent=absent)
    yield f"web/{topic}.html", _html(topic, key), expected
    headings = ((f"{key}nb", f"Study of {topic}"),)
    expected = Expected("notebook", f"Study of {topic}", (f"{key}code",), headings, absent=("iVBOR",))
    yield f"notebooks/{topic}.ipynb", _notebook(topic, key), expected
    text = f"# {key}comment\ndef {topic}_of():\n    return '{key}py'\n"
    yield f"src/{topic}.py", text, Expected("code", f"{topic}.py", (f"{key}comment", f"{key}py"))


def _office(topic: str, key: str, kind: int) -> tuple[str, bytes, Expected]:
    """Return the same of a file in one of the formats of office programs."""
    if kind == 0:
        headings, pages = ((f"{key}docx", "Findings"),), ((f"{key}second", 2),)
        expected = Expected("docx", f"Report on {topic}", (f"{key}cell | 12",), headings, pages)
        return f"office/{topic}.docx", docx(topic, key), expected
    if kind == 1:
        headings, pages = ((f"{key}pptx", "Results"),), ((f"{key}pptx", 2),)
        expected = Expected("pptx", f"Talk on {topic}", (f"{key}notes",), headings, pages)
        return f"office/{topic}.pptx", pptx(topic, key), expected
    if kind == 2:
        headings = ((f"{key}two", "Second chapter"),)
        return f"office/{topic}.epub", epub(topic, key), Expected("epub", f"Book of {topic}", (f"{key}one",), headings)
    if kind == 3:
        headings, pages = ((f"{key}method", "Method"),), ((f"{key}first", 1), (f"{key}method", 2))
        return f"office/{topic}.pdf", pdf(topic, key), Expected("pdf", f"Paper on {topic}", (), headings, pages)
    headings = ((f"{key}attached", "Attachment: list.txt"),)
    expected = Expected("eml", f"About {topic}", (f"{key}body", "ada@example.org"), headings)
    return f"mail/{topic}.eml", mail(topic, key), expected


def _encodings() -> Iterator[tuple[str, bytes | str, Expected]]:
    """Yield the same of files in several encodings, of one with a wrong name, and of one far below."""
    german = "Die Straße führt über die Brücke; schöne Grüße aus München, wo die Äpfel süß sind."
    words = ("Straße", "Grüße", "Äpfel")
    yield "notes/latin1.txt", german.encode("latin-1"), Expected("text", "latin1", words)
    yield "notes/utf16.txt", german.encode("utf-16"), Expected("text", "utf16", words)
    yield "notes/utf16-unmarked.txt", german.encode("utf-16-le"), Expected("text", "utf16-unmarked", words[:2])
    yield "notes/bom.md", "\ufeff# Überschrift\n\nMit Marke.\n", Expected("markdown", "Überschrift", ("Mit Marke",))
    russian = ("Быстрая лисица прыгает через ленивую собаку. " * 8).encode("cp1251")
    yield "notes/russian.txt", russian, Expected("text", "russian", ("лисица", "собаку"))
    latin = '<meta charset="iso-8859-1"><title>Café</title><p>Crème brûlée'.encode("latin-1")
    yield "web/latin.html", latin, Expected("html", "Café", ("Crème brûlée",))
    expected = Expected("pdf", "Paper on kites", (), (), (("kites9method", 2),))
    yield "notes/really-a-pdf.txt", pdf("kites", "kites9"), expected
    yield "deep/a/b/c/readme.md", "# Deep\n\nFar below.\n", Expected("markdown", "Deep", ("Far below",))


def write_unreadable(folder: Path) -> dict[str, str]:
    """Write files and links that cannot be read; return a part of the reason by the path in the folder."""
    bad = folder / "bad"
    write(bad / "zero.txt", b"")
    write(bad / "encrypted.pdf", pdf("secrets", "secret", password="open sesame"))
    write(bad / "cut.pdf", pdf("halves", "half")[:300])
    write(bad / "not.pdf", "This is a text.")
    write(bad / "not.docx", "This is a text.")
    write(bad / "noise.txt", bytes(range(256)) * 40)
    write(bad / "old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    write(bad / "bomb.docx", bomb())
    write(bad / "laughs.docx", laughs())
    write(bad / "cut.pptx", pptx("halves", "half")[:-200])
    write(bad / "broken.ipynb", '{"cells": [')
    write(bad / "scan.pdf", pdf("", "", empty=True))
    with (bad / "huge.txt").open("wb") as stream:
        stream.truncate(2_000_000_000)
    (bad / "loop").symlink_to(bad)
    (bad / "itself.md").symlink_to(bad / "itself.md")
    (bad / "outside.md").symlink_to("/etc/hostname")
    (bad / "nothing.md").symlink_to(bad / "absent.md")
    os.mkfifo(bad / "pipe.md")
    return {
        "bad/zero.txt": "is empty",
        "bad/encrypted.pdf": "is encrypted",
        "bad/cut.pdf": "is a damaged PDF",
        "bad/not.pdf": "is not a PDF",
        "bad/not.docx": "is not a Word document",
        "bad/noise.txt": "is not text",
        "bad/old.docx": "encrypted or of the format before 2007",
        "bad/bomb.docx": "unpacks to more than 32 MiB",
        "bad/laughs.docx": "word/document.xml is not XML",
        "bad/cut.pptx": "damaged or cut-off ZIP archive",
        "bad/broken.ipynb": "is not a notebook",
        "bad/scan.pdf": "contains no text, only pictures",
        "bad/huge.txt": "has 2,000,000,000 bytes",
        "bad/loop": "is a link in a loop",
        "bad/itself.md": "is a link in a loop",
        "bad/outside.md": "is a link out of the folder",
        "bad/nothing.md": "is a link to nothing",
        "bad/pipe.md": "is not a regular file",
    }


def pdf(topic: str, key: str, *, password: str | None = None, empty: bool = False) -> bytes:
    """Two pages; the second is set in two columns, which the file writes row by row, and the outline names it."""
    from reportlab.pdfgen.canvas import Canvas

    stream = BytesIO()
    canvas = Canvas(stream, pagesize=(600, 800), encrypt=password)
    if empty:
        canvas.rect(100, 100, 200, 200, fill=1)
        canvas.save()
        return stream.getvalue()
    canvas.setTitle(f"Paper on {topic}")
    canvas.drawString(50, 740, f"Paper on {topic}")
    canvas.drawString(50, 700, f"The first page tells of {key}first.")
    canvas.showPage()
    canvas.bookmarkPage("method")
    canvas.addOutlineEntry("Method", "method", level=0)
    canvas.drawString(50, 740, "Method")
    left = [f"left{row} words of {key}method fill the left column" for row in range(12)]
    right = [f"right{row} words of {topic} fill the other column" for row in range(12)]
    for row in range(12):
        canvas.drawString(50, 700 - 20 * row, left[row])
        canvas.drawString(330, 700 - 20 * row, right[row])
    canvas.save()
    return stream.getvalue()


def docx(topic: str, key: str) -> bytes:
    """A report with a title, a heading, a table and a page break."""
    from docx import Document

    document = Document()
    document.core_properties.title = f"Report on {topic}"
    document.add_heading("Findings", 1)
    document.add_paragraph(f"We found {key}docx.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = f"{key}cell", "12"
    document.add_page_break()
    document.add_heading("Annex", 2)
    document.add_paragraph(f"On {key}second.")
    stream = BytesIO()
    document.save(stream)
    return stream.getvalue()


def pptx(topic: str, key: str) -> bytes:
    """Two slides with titles, and notes."""
    from pptx import Presentation

    presentation = Presentation()
    for title, text in ((f"Talk on {topic}", "An opening"), ("Results", f"They show {key}pptx")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    slide.notes_slide.notes_text_frame.text = f"Mention {key}notes"
    stream = BytesIO()
    presentation.save(stream)
    return stream.getvalue()


def epub(topic: str, key: str) -> bytes:
    """A book of two chapters, whose reading order is not that of its files."""
    chapters = {"a.xhtml": ("Second chapter", f"{key}two"), "b.xhtml": ("First chapter", f"{key}one")}
    items = "".join(f'<item id="{n[0]}" href="{n}" media-type="application/xhtml+xml"/>' for n in chapters)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        f"<dc:title>Book of {topic}</dc:title><dc:language>en</dc:language></metadata><manifest>{items}</manifest>"
        '<spine><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/package.opf"/></rootfiles></container>'
    )
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OEBPS/package.opf": package}
    for name, (title, word) in chapters.items():
        parts[f"OEBPS/{name}"] = f"<html><body><h1>{title}</h1><p>It tells of {word}.</p></body></html>"
    return zipped(parts)


def mail(topic: str, key: str) -> bytes:
    """A mail with a text, its HTML form and an attached list."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = f"About {topic}", "ada@example.org", "bob@example.org"
    message.set_content(f"Dear Bob, consider {key}body.\n")
    message.add_alternative(f"<p>Dear <b>Bob</b>, consider {key}body.</p>", subtype="html")
    message.add_attachment(f"Items: {key}attached".encode(), maintype="text", subtype="plain", filename="list.txt")
    message.add_attachment(b"\x89PNG\r\n\x00\x00", maintype="image", subtype="png", filename="picture.png")
    return message.as_bytes()


def bomb() -> bytes:
    """A Word document of some 200 KB that unpacks to 200 MB."""
    return zipped({"word/document.xml": b"<d>" + b" " * 200_000_000 + b"</d>"})


def laughs() -> bytes:
    """A Word document whose entities would expand to billions of words."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    body = "<d><body><p><r><t>&l9;</t></r></p></body></d>"
    return zipped({"word/document.xml": f'<!DOCTYPE d [<!ENTITY l0 "lol">{entities}]>{body}'})


def zipped(parts: dict[str, str] | dict[str, bytes]) -> bytes:
    """Return a ZIP archive of these parts."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _html(topic: str, key: str) -> str:
    return f"""<!DOCTYPE html><html lang="en"><head><title>Page of {topic}</title><script>tracker()</script></head>
    <body><nav><a href="/">Home</a></nav><div class="cookie-banner">Accept</div>
    <main><h1>Page of {topic}</h1><p>A first <b>paragraph</b>.</p><h2>Details</h2><p>They concern {key}html.</p>
    <table><tr><th>one</th><th>two</th></tr></table><pre><code class="language-py">x = 1\n  y</code></pre>
    <aside>Subscribe</aside></main><footer>Copyright</footer></body></html>"""


def _notebook(topic: str, key: str) -> str:
    image = {"data": {"image/png": "iVBOR" * 1000}, "output_type": "display_data", "metadata": {}}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": [f"# Study of {topic}\n", f"It is on {key}nb."]},
        {"cell_type": "code", "metadata": {}, "source": f"# comment\n{key}code = 1", "outputs": [image]},
    ]
    stored = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"language_info": {"name": "python"}}, "cells": cells}
    return json.dumps(stored)

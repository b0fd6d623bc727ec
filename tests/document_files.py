"""A handbook of more than 60 files in all formats, made by real writers, and what is expected of each."""

import json
import os
import zipfile
from dataclasses import dataclass
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

TOPICS = ("vaccines", "bread", "tides", "glaciers", "violins", "bridges", "honey", "compilers", "maps")


@dataclass(frozen=True)
class Expected:
    """What reading a file must yield: its format and title, and chunks that hold these words."""

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
    found: dict[str, Expected] = {}
    for number, topic in enumerate(TOPICS):
        _texts(folder, topic, number, found)
        _office(folder, topic, number, found)
    _encodings(folder, found)
    return found


def write(path: Path, data: bytes | str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _texts(folder: Path, topic: str, number: int, found: dict[str, Expected]) -> None:
    key = f"{topic}{number}"
    name = f"guides/{topic}.md"
    write(
        folder / name, f"---\ntitle: 'All about {topic}'\n---\n# Basics\n\nOn {key}md.\n\n## Care\n\nKeep {key}care.\n"
    )
    found[name] = Expected("markdown", f"All about {topic}", (f"{key}md",), ((f"{key}care", "Care"),))
    name = f"notes/{topic}.txt"
    write(folder / name, f"Plain words on {key}txt.\n\n# not a heading\n")
    found[name] = Expected("text", topic, (f"{key}txt", "# not a heading"))
    name = f"reference/{topic}.rst"
    write(folder / name, f"=====\nTitle\n=====\n\n{topic}\n--------------\n\nSee {key}rst::\n\n    code\n")
    found[name] = Expected("rst", "Title", (), ((f"{key}rst", topic),))
    name = f"web/{topic}.html"
    write(folder / name, _html(topic, key))
    absent = ("Home", "Accept", "Copyright", "tracker", "Subscribe")
    found[name] = Expected("html", f"Page of {topic}", ("one | two",), ((f"{key}html", "Details"),), absent=absent)
    name = f"notebooks/{topic}.ipynb"
    write(folder / name, _notebook(topic, key))
    found[name] = Expected(
        "notebook", f"Study of {topic}", (f"{key}code",), ((f"{key}nb", f"Study of {topic}"),), (), ("iVBOR",)
    )
    name = f"src/{topic}.py"
    write(folder / name, f"# {key}comment\ndef {topic}_of():\n    return '{key}py'\n")
    found[name] = Expected("code", f"{topic}.py", (f"{key}comment", f"{key}py"))


def _office(folder: Path, topic: str, number: int, found: dict[str, Expected]) -> None:
    key = f"{topic}{number}"
    kind = number % 5
    if kind == 0:
        write(folder / f"office/{topic}.docx", docx(topic, key))
        name, expected = (
            f"office/{topic}.docx",
            Expected(
                "docx",
                f"Report on {topic}",
                (f"{key}cell | 12",),
                ((f"{key}docx", "Findings"),),
                ((f"{key}second", 2),),
            ),
        )
    elif kind == 1:
        write(folder / f"office/{topic}.pptx", pptx(topic, key))
        name, expected = (
            f"office/{topic}.pptx",
            Expected("pptx", f"Talk on {topic}", (f"{key}notes",), ((f"{key}pptx", "Results"),), ((f"{key}pptx", 2),)),
        )
    elif kind == 2:
        write(folder / f"office/{topic}.epub", epub(topic, key))
        name, expected = (
            f"office/{topic}.epub",
            Expected("epub", f"Book of {topic}", (f"{key}one",), ((f"{key}two", "Second chapter"),)),
        )
    elif kind == 3:
        write(folder / f"office/{topic}.pdf", pdf(topic, key))
        name, expected = (
            f"office/{topic}.pdf",
            Expected(
                "pdf", f"Paper on {topic}", (), ((f"{key}method", "Method"),), ((f"{key}first", 1), (f"{key}method", 2))
            ),
        )
    else:
        write(folder / f"mail/{topic}.eml", mail(topic, key))
        name, expected = (
            f"mail/{topic}.eml",
            Expected(
                "eml",
                f"About {topic}",
                (f"{key}body", "ada@example.org"),
                ((f"{key}attached", "Attachment: list.txt"),),
            ),
        )
    found[name] = expected


def _encodings(folder: Path, found: dict[str, Expected]) -> None:
    german = "Die Straße führt über die Brücke; schöne Grüße aus München, wo die Äpfel süß sind."
    write(folder / "notes/latin1.txt", german.encode("latin-1"))
    found["notes/latin1.txt"] = Expected("text", "latin1", ("Straße", "Grüße", "Äpfel"))
    write(folder / "notes/utf16.txt", german.encode("utf-16"))
    found["notes/utf16.txt"] = Expected("text", "utf16", ("Straße", "Grüße", "Äpfel"))
    write(folder / "notes/utf16-unmarked.txt", german.encode("utf-16-le"))
    found["notes/utf16-unmarked.txt"] = Expected("text", "utf16-unmarked", ("Straße", "Grüße"))
    write(folder / "notes/bom.md", "\ufeff# Überschrift\n\nMit Marke.\n")
    found["notes/bom.md"] = Expected("markdown", "Überschrift", ("Mit Marke",))
    write(folder / "notes/russian.txt", ("Быстрая лисица прыгает через ленивую собаку. " * 8).encode("cp1251"))
    found["notes/russian.txt"] = Expected("text", "russian", ("лисица", "собаку"))
    write(folder / "web/latin.html", '<meta charset="iso-8859-1"><title>Café</title><p>Crème brûlée'.encode("latin-1"))
    found["web/latin.html"] = Expected("html", "Café", ("Crème brûlée",))
    write(folder / "notes/really-a-pdf.txt", pdf("kites", "kites9"))
    found["notes/really-a-pdf.txt"] = Expected("pdf", "Paper on kites", (), (), (("kites9method", 2),))
    write(folder / "deep/a/b/c/readme.md", "# Deep\n\nFar below.\n")
    found["deep/a/b/c/readme.md"] = Expected("markdown", "Deep", ("Far below",))


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

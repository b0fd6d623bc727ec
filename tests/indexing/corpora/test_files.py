"""Files as a corpus: texts, titles, headings and pages of every format; what is left out, and what is reported."""

import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from document_files import Expected, bomb, docx, mail, pdf, write, write_handbook, write_unreadable, zipped
from indexing.corpora import FILES_FIELDS, Chunking, read_files
from indexing.corpora.chunked import assemble
from indexing.corpora.sources.formats import extract
from indexing.documents import Document
from indexing.errors import InputError
from indexing.filters import check_fields
from indexing.filters.fields import field_values


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Expected]]:
    folder = tmp_path_factory.mktemp("files") / "handbook"
    return folder, write_handbook(folder)


@pytest.fixture(scope="module")
def chunks(handbook: tuple[Path, dict[str, Expected]]) -> dict[str, list[Document]]:
    by_file: dict[str, list[Document]] = {}
    for chunk in read_files(handbook[0]):
        by_file.setdefault(chunk.metadata["parent_id"], []).append(chunk)
    return by_file


def test_a_folder_of_all_formats_is_read_with_texts_titles_headings_and_pages(
    handbook: tuple[Path, dict[str, Expected]], chunks: dict[str, list[Document]]
) -> None:
    _, expected = handbook
    assert len(expected) >= 60
    assert {one.format for one in expected.values()} == {
        "markdown", "text", "rst", "html", "notebook", "code", "docx", "pptx", "epub", "pdf", "eml"
    }  # fmt: skip
    assert chunks.keys() == expected.keys()
    for name, one in expected.items():
        found = chunks[name]
        whole = "".join(chunk.text for chunk in found)
        assert {chunk.metadata["format"] for chunk in found} == {one.format}, name
        assert {chunk.metadata["title"] for chunk in found} == {one.title}, name
        for word in one.words:
            assert word in whole, (name, word, whole)
        for word in one.absent:
            assert word not in whole, (name, word)
        for word, heading in one.headings:
            assert [c.metadata.get("heading") for c in found if word in c.text][:1] == [heading], (name, word)
        for word, page in one.pages:
            assert any(
                c.metadata["page"] <= page <= c.metadata["chunk"]["last_page"] for c in found if word in c.text
            ), name
            assert whole[: whole.index(word)].count("\f") + 1 == page, (name, word)


def test_every_chunk_has_the_declared_fields_and_its_parent_is_reassembled_without_its_own_ones(
    handbook: tuple[Path, dict[str, Expected]], chunks: dict[str, list[Document]]
) -> None:
    fields = check_fields(FILES_FIELDS)
    for name, found in chunks.items():
        for chunk in found:
            assert field_values(fields, chunk.metadata, chunk.doc_id).keys() >= {"path", "format", "title", "size"}
        parent = assemble(found)
        assert parent.doc_id == parent.metadata["path"] == name
        assert parent.metadata["size"] == (handbook[0] / name).stat().st_size
        assert not {"page", "heading", "chunk"} & parent.metadata.keys()


def test_columns_that_a_pdf_writes_row_by_row_are_read_one_after_the_other(
    chunks: dict[str, list[Document]],
) -> None:
    text = assemble(chunks["office/glaciers.pdf"]).text
    order = [text.index(f"{side}{row} ") for side in ("left", "right") for row in range(12)]
    assert order == sorted(order)
    assert "Method" in text[: order[0]]


def test_a_table_of_a_pdf_is_read_row_by_row() -> None:
    from io import BytesIO

    from reportlab.pdfgen.canvas import Canvas

    stream = BytesIO()
    canvas = Canvas(stream, pagesize=(600, 800))
    for row in range(10):
        canvas.drawString(50, 700 - 20 * row, f"name{row}")
        canvas.drawString(330, 700 - 20 * row, f"value{row}")
    canvas.drawString(50, 740, "A long line above the table that spans the page from its left to its right side.")
    canvas.save()
    text = extract(stream.getvalue(), "table.pdf").text
    assert text.index("value0") < text.index("name1")


def test_pages_are_chunks_of_their_own_on_request(tmp_path: Path) -> None:
    write(tmp_path / "a.pdf", pdf("tea", "tea"))
    write(tmp_path / "rfc.txt", "first page\n\f\n\f\nthird page, after an empty one\n\f")
    found = list(read_files(tmp_path, chunking=Chunking("pages")))
    pages = [(chunk.metadata["path"], chunk.metadata["page"], chunk.metadata["chunk"]["last_page"]) for chunk in found]
    assert pages == [("a.pdf", 1, 1), ("a.pdf", 2, 2), ("rfc.txt", 1, 1), ("rfc.txt", 3, 3)]


def test_what_cannot_be_read_is_reported_with_its_reason_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = write_unreadable(tmp_path)
    write(tmp_path / "good.md", "# Good\n\nReadable.\n")
    skipped = tmp_path / "skipped.jsonl"
    corpus = read_files(tmp_path, skipped_to=skipped)
    with caplog.at_level(logging.WARNING):
        assert [document.doc_id for document in corpus] == ["good.md#0"]
    lines = {line["file"]: line["reason"] for line in map(json.loads, skipped.read_text().splitlines())}
    assert {Path(file).relative_to(tmp_path).as_posix() for file in lines} == reasons.keys()
    for name, reason in reasons.items():
        line = lines[str(tmp_path / name)]
        assert reason in line, (name, line)
        assert f"{tmp_path / name} {line}" in caplog.messages
    assert corpus.skipped == len(reasons)


def test_unreadable_folders_and_files_are_reported(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    write(tmp_path / "good.md", "Readable.")
    write(tmp_path / "closed" / "a.md", "Hidden away.")
    write(tmp_path / "secret.md", "Not for all.")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "secret.md").chmod(0)
    try:
        corpus = read_files(tmp_path)
        assert [document.doc_id for document in corpus] == ["good.md#0"]
        assert corpus.skipped == 2
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_gitignore_hidden_files_links_and_collections_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / ".git" / "config", "")
    write(tmp_path / ".gitignore", "*.log\nbuild/\n/top.md\n")
    folder = tmp_path / "docs"
    write(folder / ".gitignore", "!kept.log\ndraft*.md\n")
    for name in ("a.md", "b.log", "kept.log", "draft1.md", "build/x.md", "sub/top.md", ".hidden.md", "picture.png"):
        write(folder / name, "text")
    write(folder / "sub" / ".gitignore", "!draft2.md\n")
    write(folder / "sub" / "draft2.md", "text")
    write(folder / "index" / "manifest.json", "{}")
    write(folder / "index" / "documents.sqlite", "")
    write(folder / "index" / "x.md", "text")
    (folder / "link.md").symlink_to(folder / "a.md")
    corpus = read_files(folder)
    assert sorted(corpus.source.entries) == ["a.md", "kept.log", "sub/draft2.md", "sub/top.md"]
    assert corpus.source.problems == {}
    assert corpus.source.left_out == Counter(
        {
            "hidden": 3,
            "excluded by .gitignore": 3,
            "collection": 1,
            "other format (.png)": 1,
            "link to another place in the folder": 1,
        }
    )


def test_ids_are_relative_to_the_common_folder_of_several_sources(tmp_path: Path) -> None:
    for name in ("a/x.md", "a/b/y.md", "c/z.data", "c/w.md"):
        write(tmp_path / name, "text")
    assert set(read_files(tmp_path / "a").source.entries) == {"x.md", "b/y.md"}
    assert set(read_files(tmp_path / "a", tmp_path / "c" / "z.data").source.entries) == {
        "a/x.md",
        "a/b/y.md",
        "c/z.data",
    }
    assert set(read_files(tmp_path / "**" / "*.md").source.entries) == {"a/x.md", "a/b/y.md", "c/w.md"}
    assert set(read_files(tmp_path / "c" / "z.data").source.entries) == {"z.data"}
    for missing in ("nothing", "*.pdf"):
        with pytest.raises(InputError, match=r"does not exist|matches no file"):
            read_files(tmp_path / missing)


def test_a_corpus_of_files_without_text_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "")
    with pytest.raises(InputError, match="holds no usable document"):
        list(read_files(tmp_path))


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (zipped({"word/document.xml": "<a>"}), "a.docx", "not XML"),
        (zipped({"other": "x"}), "a.docx", "ZIP archive of another kind"),
        (zipped({"META-INF/container.xml": "<a/>"}), "a.epub", "names no package"),
        (b"[1, 2]", "a.ipynb", "not a JSON object"),
        (b"[" * 100_000, "a.ipynb", "is not a notebook"),
        (b"no header here", "a.eml", "is not a mail"),
        (b"\xff\xfe\x00\xd8\x00\x00", "a.txt", "begins as utf-16"),
    ],
)
def test_damaged_files_have_a_reason(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        extract(data, name)


def test_mails_within_mails_are_read_to_a_depth() -> None:
    from email.message import EmailMessage

    inner = mail("seeds", "seeds")
    for _ in range(6):
        outer = EmailMessage()
        outer["Subject"] = "Fwd"
        outer.set_content("See below.")
        outer.add_attachment(inner, maintype="application", subtype="octet-stream", filename="inner.eml")
        inner = outer.as_bytes()
    text = extract(inner, "mail.eml").text
    assert text.count("See below.") == 4
    assert "seedsbody" not in text


@pytest.mark.parametrize("make", [docx, pdf, mail])
def test_mutated_files_are_read_or_refused(make: object) -> None:
    import random

    data = make("tea", "tea")  # type: ignore[operator]
    name = {"docx": "a.docx", "pdf": "a.pdf", "mail": "a.eml"}[make.__name__]  # type: ignore[attr-defined]
    chance = random.Random(3)
    for _ in range(60):
        mutated = bytearray(data)
        for _ in range(chance.choice([1, 5, 50])):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        try:
            Document("a", extract(bytes(mutated), name).text)
        except InputError:
            continue


@pytest.mark.slow
def test_memory_stays_bounded_for_hostile_files(tmp_path: Path) -> None:
    """Peak memory of reading each is below 1.5 GB, with everything that the interpreter loads."""
    write(tmp_path / "bomb.docx", bomb())
    write(tmp_path / "long.txt", "word " * 1_990_000)
    write(tmp_path / "longer.txt", "word " * 15_000_000)
    write(tmp_path / "table.html", "<table>" + "<tr><td>x</td></tr>" * 1_000_000)
    for name in ("bomb.docx", "long.txt", "longer.txt", "table.html"):
        code = (
            "import sys, resource; from indexing.corpora import read_files\n"
            "try: print(sum(len(d.text) for d in read_files(sys.argv[1])))\n"
            "except Exception as error: print(error)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout.splitlines()[-1]) < 1_500_000, (name, done.stdout)

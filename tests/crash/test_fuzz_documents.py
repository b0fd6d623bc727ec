"""Mutated files of every format that is indexed as a document, and of synonyms, as in `test_fuzz.py`."""

import random
import zipfile
from io import BytesIO

import pytest
from crash.test_fuzz import FAST, TOKENS, fuzz, mutated, sizes

import document_files
from indexing.corpora.files import read_files
from indexing.corpora.sources.formats import extract
from indexing.query_syntax.synonyms import Synonyms

TOPIC = ("bread", "bread0")
FILES = {
    "a.md": b"---\ntitle: 'All about bread'\n---\n# Basics\n\nOn bread.\n\n```\n# code\n```\n\n## Care\n\n| a | b |\n",
    "a.rst": b"=====\nTitle\n=====\n\nbread\n--------\n\nSee::\n\n    code\n\n.. note:: x\n",
    "a.txt": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.".encode("utf-16"),
    "a.py": b"# comment\ndef bread():\n    return 'x'\n",
    "a.html": document_files._html(*TOPIC).encode(),
    "a.ipynb": document_files._notebook(*TOPIC).encode(),
    "a.pdf": document_files.pdf(*TOPIC),
    "a.eml": document_files.mail(*TOPIC),
    "a.docx": document_files.docx(*TOPIC),
    "a.pptx": document_files.pptx(*TOPIC),
    "a.epub": document_files.epub(*TOPIC),
}
ZIPPED = ["a.docx", "a.pptx", "a.epub"]
XML = [b"<", b"</", b"&x;", b"<![CDATA[", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<a>" * 3000, b'xmlns:w="x"', *TOKENS]


def repacked(data: bytes, chance: random.Random) -> bytes:
    """Change one part of an archive, or leave it out, or give it another name."""
    into = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as archive, zipfile.ZipFile(into, "w") as written:
        names = archive.namelist()
        chosen = chance.choice(names)
        for name in names:
            content, how = archive.read(name), chance.random() if name == chosen else 1.0
            if how < 0.05:
                continue
            if how < 0.1:
                name = chance.choice(["../x", "/etc/x", "a\\b", "é", name.upper(), "x" * 300])
            elif how < 0.5:
                content = mutated(content, chance)
            elif how < 1.0:
                place = chance.randrange(len(content) + 1)
                content = content[:place] + chance.choice(XML) + content[place + chance.choice((0, 1, 20)) :]
            written.writestr(name, content)
    return into.getvalue()


@sizes
@pytest.mark.parametrize("name", FILES)
def test_documents_of_every_format(tmp_path, name, count):
    file = tmp_path / name
    file.write_bytes(FILES[name])
    assert extract(FILES[name], name).text
    fuzz(file, lambda: extract(file.read_bytes(), name), 2 * count if count == FAST else count, seed=name)


@sizes
@pytest.mark.parametrize("name", ZIPPED)
def test_the_parts_of_archives(tmp_path, name, count):
    for number in range(4 * count if count == FAST else count):
        file = tmp_path / name
        file.write_bytes(repacked(FILES[name], random.Random(f"{name} {number}")))
        fuzz(file, lambda file=file: extract(file.read_bytes(), name), 1, seed=f"{name} {number} again")


@sizes
def test_a_folder_of_damaged_files_is_read_but_for_those(tmp_path, count):
    """A reader of folders names what it cannot read and goes on."""
    chance = random.Random(count)
    (tmp_path / "good.md").write_text("# Bread\n\nRye.\n")
    for name, data in FILES.items():
        for number in range(1 if count == FAST else 20):
            (tmp_path / f"{number}-{name}").write_bytes(mutated(data, chance))
    documents = list(read_files(tmp_path))
    assert any("Rye." in document.text for document in documents)


@sizes
def test_synonyms(tmp_path, count):
    file = tmp_path / "synonyms.txt"
    file.write_text("# comment\ncar, automobile, motor vehicle\nnyc => new york city, big apple\n")
    fuzz(file, lambda: Synonyms.load(file), 8 * count if count == FAST else count, seed="synonyms")

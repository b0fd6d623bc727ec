"""Files read by the package kreuzberg: texts, titles, pages and more formats; one clear line for each failure."""

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from document_files import write, write_handbook
from indexing.corpora import Chunking, read_files
from indexing.errors import InputError
from pipelines.cli import main

RTF = rb"{\rtf1\ansi\deff0 {\fonttbl {\f0 Arial;}} The tide tables of harbours.}"


def test_a_handbook_is_read_with_texts_titles_and_pages(tmp_path: Path) -> None:
    expected = {
        name: what for name, what in write_handbook(tmp_path).items() if name.startswith(("office/", "guides/"))
    }
    write(tmp_path / "office" / "tables.rtf", RTF)
    chunks: dict[str, list] = {}
    for chunk in read_files(tmp_path / "office", tmp_path / "guides", reader="kreuzberg"):
        chunks.setdefault(str(chunk.metadata["path"]), []).append(chunk)
    assert chunks.keys() == {*expected, "office/tables.rtf"}
    assert "tide tables of harbours" in chunks["office/tables.rtf"][0].text
    for name, what in expected.items():
        text = " ".join(chunk.text for chunk in chunks[name])
        # It reads tables in another form, and no speaker's notes.
        assert [word for word in what.words if not (" | " in word or word.endswith("notes") or word in text)] == [], (
            name
        )
    pages = list(read_files(tmp_path / "office", reader="kreuzberg", chunking=Chunking("pages")))
    for word, page in [place for what in expected.values() if what.format == "pdf" for place in what.pages]:
        assert {chunk.metadata.get("page") for chunk in pages if word in chunk.text} == {page}


def test_what_kreuzberg_cannot_read_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "broken.pdf", b"%PDF-1.4 broken")
    write(tmp_path / "fine.md", "# Fine\n\nText.")
    with caplog.at_level(logging.WARNING):
        assert [chunk.metadata["path"] for chunk in read_files(tmp_path, reader="kreuzberg")] == ["fine.md"]
    (line,) = [record.getMessage() for record in caplog.records if "broken.pdf" in record.getMessage()]
    assert "broken.pdf cannot be read by kreuzberg: " in line
    assert "\n" not in line


def test_without_the_package_the_option_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fine.md", "# Fine\n\nText.")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kreuzberg" else find(name))
    with pytest.raises(InputError, match=r"pip install 'retrieve-rerank\[kreuzberg\]'"):
        read_files(tmp_path, reader="kreuzberg")
    with pytest.raises(InputError, match="reader must be 'own' or 'kreuzberg', not 'docling'"):
        read_files(tmp_path, reader="docling")  # type: ignore[arg-type]


def test_the_package_is_imported_only_if_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "# Fine\n\nText.")
    code = (
        "import sys; from indexing.corpora import read_files; "
        "list(read_files(sys.argv[1])); print('kreuzberg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_collection_keeps_its_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = tmp_path / "files", str(tmp_path / "c")
    write(folder / "tables.rtf", RTF)
    write(folder / "a.md", "# Fine\n\nText.")
    command = ["index", str(folder), "--to", target, "--no-dense", "--quiet"]
    assert main([*command, "--reader", "kreuzberg"]) == 0
    assert main([*command, "--reader", "kreuzberg"]) == 0
    assert "2 unchanged" in capsys.readouterr().out
    assert main(command) == 1
    assert "was built with the reader kreuzberg (--reader): repeat its options" in capsys.readouterr().err
    assert main(["search", target, "tide tables"]) == 0
    assert "tables.rtf" in capsys.readouterr().out
    (tmp_path / "r.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    records = ["index", str(tmp_path / "r.jsonl"), "--to", str(tmp_path / "r"), "--no-dense", "--reader", "kreuzberg"]
    assert main(records) == 1
    assert "--reader is for a folder or files" in capsys.readouterr().err

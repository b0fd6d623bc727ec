"""Small compressed files that would fill all memory, or never end: refused with an error that names the file."""

import gzip

import pytest

from indexing.corpora.corpus import read_corpus
from indexing.corpora.sources import text_files
from indexing.errors import InputError


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.csv.gz", "corpus.tsv.gz"])
def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path, name):
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
        file.write(b"_id\tb\n" if "tsv" in name else b"_id,text\n" if "csv" in name else b"\n")
        for _ in range(2 + text_files.LONGEST_LINE // (1 << 24)):
            file.write(b"a" * (1 << 24))

    with pytest.raises(InputError, match=rf"{name} (has a line that is longer than 128 MiB|.*longer than)"):
        list(read_corpus(tmp_path / name))


def test_blank_lines_without_end_are_refused(tmp_path):
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(b"\r\n" * 50_000)

    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz has over 1,000,000 blank lines"):
        list(read_corpus(tmp_path / "corpus.jsonl.gz"))

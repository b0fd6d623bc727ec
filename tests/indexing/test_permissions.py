"""Outputs are checked before the work that they are to hold."""

import os
from pathlib import Path

import pytest

from indexing.errors import StorageError
from indexing.permissions import check_output


def test_what_can_be_written_passes(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    check_output(tmp_path / "old")
    check_output(tmp_path / "new" / "deep" / "file")
    check_output(tmp_path, folder=True)
    check_output(tmp_path / "new", folder=True)


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file is a file: choose another path"):
        check_output(tmp_path / "file", folder=True)
    with pytest.raises(StorageError, match="is a folder: choose another path"):
        check_output(tmp_path)
    with pytest.raises(StorageError, match="file is a file, so nothing can be written in it"):
        check_output(tmp_path / "file" / "inside" / "x")
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(StorageError, match="no permission to write in"):
        check_output(tmp_path / "new" / "x")

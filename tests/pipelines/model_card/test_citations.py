"""The BibTeX entries of losses are complete, and the file that holds them is installed."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

from pipelines.model_card import citations as module
from pipelines.model_card.citations import citations


def test_every_paper_has_an_entry_and_every_entry_is_cited_once():
    keys = {key for papers in module._PAPERS.values() for key in papers}
    found = citations(module._PAPERS)
    assert len(found) == len(set(found)) == len(keys) + 1
    assert found[0].startswith("@inproceedings{reimers-2019-sentence-bert,")
    text = Path(module.__file__).with_suffix(".bib").read_text("utf-8")
    assert sorted(found) == sorted(text.strip().split("\n\n"))


def test_an_unknown_loss_adds_no_entry():
    assert citations(["ALossOfTheUser"]) == citations([])


def test_the_entries_are_package_data():
    project = tomllib.loads((Path(module.__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["pipelines"]
    assert any(fnmatch("model_card/citations.bib", pattern) for pattern in patterns)

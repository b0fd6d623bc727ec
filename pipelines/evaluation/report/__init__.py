"""Report on a results folder: one self-contained HTML page, and its plots as PNG files."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from indexing.disk import write_atomically
from indexing.errors import InputError
from pipelines.evaluation.report.facts import gather
from pipelines.evaluation.report.page import page, system_colours
from pipelines.evaluation.report.texts import GivenTexts
from pipelines.evaluation.results import read_results

__all__ = ["GivenTexts", "write_report"]

logger = logging.getLogger(__name__)


def write_report(output: str | Path, texts: Mapping[str, GivenTexts] | None = None) -> Path:
    """Write ``report.html`` into a results folder, and ``plots/*.png`` if matplotlib is installed.

    Parameters
    ----------
    output
        The folder with ``results.json``, ``runs/`` and ``per_query/``.
    texts
        Texts and judgements by dataset. Without them a dataset's section has the tables, costs and differences, but no
        recall by depth, first ranks or worst queries.

    Returns
    -------
    The page, one file that needs no network.

    Raises
    ------
    InputError
        For missing, incomplete or empty results; the message names the file.
    """
    results = read_results(output)
    texts = texts or {}
    datasets = [dataset for dataset in results.datasets.values() if dataset.systems]
    if not results.measures or not datasets:
        raise InputError(f"{results.folder / 'results.json'} has no results of any system to report")
    facts = [
        gather(dataset, results.measures[0], texts.get(dataset.name), share=1 / len(datasets)) for dataset in datasets
    ]
    path = results.folder / "report.html"
    html = page(results, facts).encode()
    write_atomically(path, lambda file: file.write(html))
    if find_spec("matplotlib") is None:
        logger.warning("the plots are not written as PNG: install matplotlib (the extra report)")
    else:
        from pipelines.evaluation.report.plots import write_plots

        for dataset_facts in facts:
            write_plots(results.folder / "plots", dataset_facts, system_colours(facts), results.baseline)
    return path

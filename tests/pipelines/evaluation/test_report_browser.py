"""The report in a real browser: no console errors, plots drawn, tables sorted, plots redrawn on a selection.

Skipped where there is no Chromium. The screenshots stay in results/test-artefacts.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from results_folders import write_results

from pipelines.evaluation.report import GivenTexts, write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARTEFACTS = Path(__file__).parents[3] / "results" / "test-artefacts"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

READ_BACK = """<script>
const column = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].dataset.value);
const table = document.querySelector("table.sortable");
const found = { before: column(table), bars: document.querySelectorAll("figure.differences rect").length };
table.tHead.rows[0].cells[1].querySelector("button").click();
found.best = column(table);
table.tHead.rows[0].cells[1].querySelector("button").click();
found.worst = column(table);
const figure = document.querySelector("figure.differences");
const [first, second, measure] = figure.querySelectorAll("select");
found.summary = figure.querySelector(".summary").textContent;
first.value = "bm25"; second.value = "hybrid"; measure.value = "R@100";
first.dispatchEvent(new Event("change"));
found.changed = figure.querySelector(".summary").textContent;
const box = figure.querySelector("svg").getBoundingClientRect();
const place = { clientX: box.right - 1, clientY: box.top + 5 };
figure.querySelector("svg").dispatchEvent(new PointerEvent("pointermove", place));
found.detail = figure.querySelector(".detail").textContent;
document.body.dataset.found = JSON.stringify(found);
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    random = np.random.default_rng(5)
    documents = [f"d{number}" for number in range(80)]
    qrels = {f"q{q}": {str(d): 1 for d in random.choice(documents, 3, False)} for q in range(40)}
    runs = {
        system: {
            query_id: {str(d): float(random.random()) for d in random.choice(documents, 40, False)}
            | {doc_id: 1 + float(random.random()) for doc_id in judged if random.random() < skill}
            for query_id, judged in qrels.items()
        }
        for system, skill in (("bm25", 0.3), ("dense", 0.5), ("sparse", 0.4), ("hybrid", 0.9), ("hybrid+rerank", 0.8))
    }
    texts = GivenTexts(
        {query_id: f"<script>document.title='broken'</script> what is {query_id}?" for query_id in qrels},
        qrels,
        lambda doc_ids: [f"the text of {doc_id}, " + "a word and another, " * 30 for doc_id in doc_ids],
    )
    folder = write_results(tmp_path_factory.mktemp("results"), {"made up": (runs, qrels)}, baseline="bm25")
    return write_report(folder, {"made up": texts})


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert said == []
    return done


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_an_error(report, tmp_path, scheme):
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    picture = ARTEFACTS / f"report-{scheme}.png"
    picture.unlink(missing_ok=True)
    dark = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()

    browse(report, tmp_path, "--window-size=1200,3600", f"--screenshot={picture}", *dark)

    assert picture.stat().st_size > 50_000


def test_the_browser_check_sees_errors(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>nothing.there()</script>")

    with pytest.raises(AssertionError):
        browse(page, tmp_path / "profile", "--dump-dom")


def test_only_the_pages_own_script_runs(report, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        report.read_text("utf-8").replace("</body>", "<script>document.title = 'broken'</script></body>"), "utf-8"
    )

    with pytest.raises(AssertionError, match="Executing inline script violates"):
        browse(page, tmp_path / "profile", "--dump-dom")


def test_tables_sort_and_the_plot_follows_the_choice(report, tmp_path):
    systems = json.loads((report.parent / "results.json").read_text())["datasets"]["made up"]["systems"]
    page = tmp_path / "page.html"
    # The page's content security policy would block this script.
    html = re.sub(r"<meta http-equiv[^>]*>", "", report.read_text("utf-8"))
    page.write_text(html.replace("</body>", READ_BACK + "</body>"), "utf-8")

    dom = browse(page, tmp_path / "profile", "--dump-dom").stdout

    found = json.loads(unescape(re.search(r'data-found="([^"]*)"', dom)[1]))
    by_quality = sorted(systems, key=lambda name: systems[name]["measures"]["nDCG@10"])
    assert found["before"] == list(systems)
    assert (found["worst"], found["best"]) == (by_quality, by_quality[::-1])
    assert found["bars"] == 40
    chosen = systems["hybrid"]["significance"]["nDCG@10"]
    counts = "hybrid is better on {wins} queries, equal on {ties}, worse on {losses}".format(**chosen)
    assert found["summary"].startswith(f"{counts}; mean difference {chosen['difference']:+.4f}"[:-2])
    other = systems["hybrid"]["significance"]["R@100"]
    assert found["changed"].startswith(f"bm25 is better on {other['losses']} queries, equal on {other['ties']}")
    assert "what is q" in found["detail"] and "<script>" in found["detail"] and "bm25 0." in found["detail"]
    assert "<title>Retrieval on made up</title>" in dom

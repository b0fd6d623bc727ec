"""The search page in a real browser: search, filter, explain, compare, judge; hostile documents stay text.

Skipped where there is no Chromium. The screenshots stay in results/test-artefacts.
"""

from pathlib import Path

import httpx
import pytest

from browser import CHROMIUM, browsing
from indexing.corpora.queries import read_qrels
from indexing.documents import Document
from indexing.errors import StorageError
from pipelines.build.job import build_collection
from pipelines.service.config import ServeConfig
from pipelines.service.judging import Judgements
from service_tests import serving

ARTEFACTS = Path(__file__).parents[3] / "results" / "test-artefacts"
HOSTILE = [
    Document(
        "<b>&\"'",
        "🎈🎈 </p><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"> "
        "\"quoted\" 'zanzibar' مرحبا \u202eבעברית zanzibar",
        "<script>document.title='broken'</script> עברית",
        {"topic": "<i>bold</i>", "link": "javascript:alert(1)", "url": "https://example.org/?a=1&b=<2>"},
    ),
    Document("plain", "A plain text about zanzibar.", "Plain", {"topic": "plain"}),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory, documents, minilm):
    folder = tmp_path_factory.mktemp("page")
    fields = {"topic": "keyword", "year": "number"}
    build_collection([*documents, *HOSTILE], folder / "notes", dense=minilm, fields=fields, show_progress=False)
    judge = folder / "judged.tsv"
    config = ServeConfig(writable=False, judge=str(judge)).with_collections([str(folder / "notes")])
    with serving(config) as (url, _):
        yield url, judge


@pytest.fixture
def page(served, tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    pytest.importorskip("websockets")
    with browsing(tmp_path / "profile") as page:
        yield page
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith((served[0], "data:", "about:"))] == []


def shown(page, url, query):
    page.open(f"{url}/?q={query}")
    page.wait("document.querySelectorAll('.hit').length")
    page.wait("document.querySelector('section')?.dataset.complete")


def ids(page, column=0):
    return page.run(
        f"[...document.querySelectorAll('section')[{column}].querySelectorAll('.hit')].map(h => h.dataset.id)"
    )


def answered(url, **body):
    """Return the ids of the hits that the service answers with."""
    answer = httpx.post(f"{url}/v1/collections/notes/search", json=body, timeout=60).json()
    return [hit["doc_id"] for hit in answer["hits"]]


def test_a_search_shows_hits_and_why(served, page):
    url, _ = served
    shown(page, url, "singular+matrix")

    assert ids(page) == answered(url, query="singular matrix")
    first = page.run("document.querySelector('.hit').innerText")
    assert "bm25: " in first and "% of the score, rank 1" in first and "matched" in first
    assert "without it rank" in first
    assert page.run("[...document.querySelectorAll('.hit mark')].map(m => m.textContent.toLowerCase())")[0] == "matrix"
    assert page.run("document.querySelectorAll('.hit .bar span').length") >= 2
    assert page.run("document.querySelector('.timings').textContent").count("search") >= 2
    assert page.run("document.getElementById('status').textContent") == "10 hits"
    for name, size, scheme in (("wide", (1200, 1600), "light"), ("narrow", (380, 1400), "dark")):
        picture = ARTEFACTS / f"search-{name}.png"
        page.picture(picture, *size, scheme)
        assert picture.stat().st_size > 20_000
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"


def test_filters_and_switches_change_the_search(served, page):
    url, _ = served
    shown(page, url, "notes")
    page.run("document.querySelector('[data-field=topic]').value = 'bread'")
    page.run("document.querySelector('[data-field=year][data-part=gte]').value = '2008'")
    page.run("document.querySelector('#config-a [value=dense]').click()")
    page.run("document.querySelector('#search').requestSubmit()")
    page.wait("document.querySelectorAll('.hit').length == 5")

    wanted = {"filter": {"topic": ["bread"], "year": {"gte": 2008}}, "legs": ["bm25"]}
    assert ids(page) == answered(url, query="notes", **wanted)
    assert page.run("[...document.querySelectorAll('.hit:first-child [data-leg]')].map(l => l.dataset.leg)") == ["bm25"]


def test_two_configurations_are_compared(served, page):
    url, _ = served
    shown(page, url, "bake+bread")
    page.run("document.querySelector('#compare').click()")
    page.run("document.querySelector('#config-b [value=bm25]').click()")
    page.run("document.querySelector('#config-b [name=reranker]').value = 'late-interaction'")
    page.run("document.querySelector('#search').requestSubmit()")
    page.wait("document.querySelectorAll('section').length == 2")

    assert ids(page, 1) == answered(url, query="bake bread", legs=["dense"], reranker="late-interaction")
    text = page.run("document.querySelectorAll('section')[1].innerText")
    assert "reranker: from rank" in text and any(word in text for word in ("▲", "▼", "new here"))
    assert "in both" in page.run("document.getElementById('status').textContent")
    page.picture(ARTEFACTS / "search-compare.png", 1240, 1500)


def test_judgements_are_stored_for_evaluation(served, page):
    url, judge = served
    shown(page, url, "bake+bread")
    first, second = ids(page)[:2]
    page.run("document.querySelector('.hit .judge button').click()")
    page.run("document.querySelectorAll('.hit')[1].querySelectorAll('.judge button')[1].click()")
    page.wait("document.querySelectorAll('[aria-pressed=true]').length == 2")

    ((query_id, grades),) = read_qrels(judge).items()
    assert grades == {first: 1, second: 0}
    assert f'{{"_id": "{query_id}", "text": "bake bread"}}' in judge.with_name("judged.queries.jsonl").read_text()


def test_documents_full_of_markup_are_shown_as_text(served, page):
    url, _ = served
    shown(page, url, "zanzibar")

    assert page.run("document.title") == "Search"
    assert page.run("document.querySelectorAll('.hit script, .hit img, .hit b, .hit i').length") == 0
    number = ids(page).index(HOSTILE[0].doc_id)
    hit = f"document.querySelectorAll('.hit')[{number}]"
    text = page.run(f"{hit}.innerText")
    assert "<script>document.title='broken'</script>" in text and "<i>bold</i>" in text
    marks = page.run(
        f"[...document.querySelectorAll('.hit')[{number}].querySelectorAll('mark')].map(m => m.textContent)"
    )
    assert marks == ["zanzibar", "zanzibar"], "places are right after characters of two UTF-16 units"
    links = page.run("[...document.querySelectorAll('.hit a')].map(a => a.href)")
    assert links == ["https://example.org/?a=1&b=%3C2%3E"]


def test_keys_move_through_the_hits(served, page):
    url, _ = served
    shown(page, url, "notes")
    page.run("document.activeElement.blur()")
    page.press("j")
    page.press("j")
    page.press("k")
    assert page.run("document.activeElement.dataset.id") == ids(page)[0]
    page.press("/")
    assert page.run("document.activeElement.id") == "query"


def test_the_page_allows_its_own_script_only(served, tmp_path):
    answer = httpx.get(f"{served[0]}/")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_of_judgements_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file, so nothing can be written in it"):
        Judgements(tmp_path / "file" / "qrels.tsv")


def test_a_later_judgement_replaces_the_earlier_one(tmp_path):
    judgements = Judgements(tmp_path / "qrels.tsv")

    query_id = judgements.add("a  query", "d1", 1)
    judgements.add("a query", "d1", 0)
    judgements.add("a query", "d2", 2)

    assert read_qrels(tmp_path / "qrels.tsv") == {query_id: {"d1": 0, "d2": 2}}
    assert len((tmp_path / "qrels.queries.jsonl").read_text().splitlines()) == 1

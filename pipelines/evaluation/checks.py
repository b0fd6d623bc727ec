"""Checks of an evaluation set: defects that bound or distort every score, counted in one pass over the corpus."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from indexing.plurals import counted
from pipelines.evaluation.judged_corpus import JudgedCorpus


@dataclass(frozen=True, slots=True)
class Checks:
    """Counts of the defects of an evaluation set.

    Parameters
    ----------
    documents
        Number of searchable documents.
    empty_documents, repeated_ids
        Records left out: without text, or with an id that occurred before.
    missing_relevant
        Relevant documents that the corpus lacks: no system can find them.
    missing_judged
        The same for all judged documents, whatever their grade.
    queries_without_relevant
        Judged queries without a relevant document: they count 0 in most measures.
    shared_ids
        Ids that are both a query's and a document's. Where queries are documents of the corpus, a query should not find
        itself; where the ids are equal by coincidence, the document counts like any other.
    """

    documents: int
    empty_documents: int
    repeated_ids: int
    missing_relevant: int
    missing_judged: int
    queries_without_relevant: int
    shared_ids: int

    def counts(self) -> dict[str, int]:
        """Return all counts except the number of documents, by name."""
        return {name: count for name, count in asdict(self).items() if name != "documents"}

    def warnings(self) -> list[str]:
        """Return a sentence for each count that is not 0 and affects scores."""
        sentences = {
            "missing_relevant": ("document", "judged relevant and not in the corpus: nothing can find it"),
            "empty_documents": ("document", "left out, without a word"),
            "repeated_ids": ("document", "left out, with the id of one above"),
            "queries_without_relevant": ("judged query", "without a relevant document, which counts 0"),
        }
        found = {name: count for name, count in self.counts().items() if count and name in sentences}
        return [f"{counted(count, sentences[name][0])} {sentences[name][1]}" for name, count in found.items()]


def check_corpus(corpus: JudgedCorpus, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> Checks:
    """Read the corpus once and compare it with queries and judgements.

    Raises
    ------
    InputError
        For a record of the corpus that cannot be used.
    """
    judged = {doc_id for grades in qrels.values() for doc_id in grades}
    relevant = {doc_id for grades in qrels.values() for doc_id, grade in grades.items() if grade > 0}
    documents = shared = 0
    for document in corpus:
        documents += 1
        judged.discard(document.doc_id)
        relevant.discard(document.doc_id)
        shared += document.doc_id in queries
    return Checks(
        documents=documents,
        empty_documents=corpus.left_out["empty"],
        repeated_ids=corpus.left_out["repeated"],
        missing_relevant=len(relevant),
        missing_judged=len(judged),
        queries_without_relevant=sum(max(grades.values()) <= 0 for grades in qrels.values()),
        shared_ids=shared,
    )

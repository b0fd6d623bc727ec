"""Checks of an evaluation set: what in it bounds or distorts every score, counted in one pass over the corpus."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipelines.evaluation.judged_corpus import JudgedCorpus


@dataclass(frozen=True, slots=True)
class Checks:
    """What was found.

    Parameters
    ----------
    documents
        Documents that can be searched.
    empty_documents, repeated_ids
        Records left out: without a word, or with an id that stood above.
    missing_relevant
        Documents judged relevant that the corpus lacks: nothing can find them.
    missing_judged
        The same for all judged documents, whatever their grade.
    queries_without_relevant
        Judged queries without any relevant document: they count 0 in most measures.
    shared_ids
        Ids that are both a query's and a document's. Where queries are documents of the corpus, finding oneself is
        no find; where the ids only happen to be alike, the document is one like any other.
    """

    documents: int
    empty_documents: int
    repeated_ids: int
    missing_relevant: int
    missing_judged: int
    queries_without_relevant: int
    shared_ids: int

    def counts(self) -> dict[str, int]:
        """Give all but the number of documents, by name."""
        return {name: count for name, count in asdict(self).items() if name != "documents"}

    def warnings(self) -> list[str]:
        """Say in words what is not 0 and should be known."""
        said = {
            "missing_relevant": "documents that are judged relevant are not in the corpus: nothing can find them",
            "empty_documents": "documents without a word are left out",
            "repeated_ids": "documents whose id stood above are left out",
            "queries_without_relevant": "judged queries have no relevant document: they count 0",
        }
        return [f"{count} {said[name]}" for name, count in self.counts().items() if count and name in said]


def check_corpus(corpus: JudgedCorpus, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> Checks:
    """Read the corpus once and compare it with queries and judgements.

    Raises
    ------
    InputError
        For a record of the corpus that cannot be used, as reading it does.
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

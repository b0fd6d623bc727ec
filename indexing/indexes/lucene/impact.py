"""ImpactIndex: learned term weights (SPLADE and its kin) as integer impacts in Lucene's postings.

A document is handed to Lucene as text, each term with its impact behind a delimiter, through a whitespace tokenizer
and ``delimitedTermFrequency``: the same index as Anserini's ``JsonVectorCollection`` makes by repeating each term as
often as its impact says.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.documents import check_ids
from indexing.errors import InputError
from indexing.filters import Fields, FilterLike, batch_field_values, check_fields
from indexing.hits import Hits
from indexing.indexes.base import Terms
from indexing.indexes.lucene.index import LuceneIndex, check_id
from indexing.indexes.lucene.java_functions import SEPARATOR, bind, constructor, method, supply
from indexing.indexes.lucene.jvm import java_class
from indexing.indexes.lucene.matched_terms import multiply_impacts
from indexing.indexes.lucene.search import CONTENTS, escape
from indexing.indexes.terms import read_vocabulary, write_vocabulary
from indexing.indexes.vectors import LARGEST_IMPACT, LARGEST_LENGTH
from indexing.inputs import local_path
from indexing.plurals import counted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DELIMITER = SEPARATOR
"""Between a term and its impact: what others use, ``|``, is a word of BERT's vocabulary; no term may hold this."""
LONGEST_TERM = 255
ROWS = 1000
"""Documents put into words at once."""

_PARSER = "org.apache.lucene.queryparser.classic.QueryParser"


class ImpactIndex(LuceneIndex):
    """Sparse vectors over a vocabulary, found by the inner product of impacts.

    An impact is ``rint(weight * scale)``, computed in the precision of the weights; a term whose impact is 0 is left
    out. The score of a document is the sum over terms of its impact times the query's, as float32 (exact below 2^24
    for each product and for the sum).
    """

    kind = "impact"
    norms = False
    vocabulary: Sequence[str]

    def __init__(self, path: Path, settings: Mapping[str, Any], *, create: bool, read_only: bool) -> None:
        self.vocabulary = read_vocabulary(path, settings["vocabulary_sha256"])
        self.scale: float = settings["scale"]
        self._document_terms = np.array([term + DELIMITER for term in self.vocabulary], dtype=object)
        self._query_terms = np.array([escape(term) + "^" for term in self.vocabulary], dtype=object)
        super().__init__(path, settings, create=create, read_only=read_only)

    @classmethod
    def create(
        cls, path: str | Path, *, vocabulary: Sequence[str], scale: float = 100, fields: Fields | None = None
    ) -> Self:
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path
            The folder; made when missing.
        vocabulary
            The term of each column of the weights; kept in ``vocabulary.txt``, one a line.
        scale
            What weights are multiplied by before they are rounded to integers.
        fields
            The metadata fields that searches may filter by, with their types (see `indexing.filters`).
        """
        path = local_path(path, "path")
        if not 0 < scale < float("inf"):
            raise InputError(f"scale must be a number above 0, not {scale}")
        _check_vocabulary(vocabulary)
        cls._make_folder(path)
        settings = {
            "scale": float(scale),
            "vocabulary_sha256": write_vocabulary(path, vocabulary),
            "fields": check_fields(fields or {}),
        }
        return cls(path, settings, create=True, read_only=False)

    def upsert(
        self, ids: Sequence[str], rows: "csr_matrix", metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Index weights [n, vocabulary] under their ids; a weight that is negative or too large is an error, too."""
        matrix = self._checked(rows)
        if len(ids) != matrix.shape[0]:
            raise InputError(f"{counted(len(ids), 'id')} for {counted(matrix.shape[0], 'row')} of weights")
        check_ids(ids)
        for doc_id in ids:
            check_id(doc_id)
        impacts = self._impacts(matrix, lambda row: f"document {ids[row]!r}")
        lengths = np.diff(np.concatenate(([0], np.cumsum(impacts)))[matrix.indptr])
        if (lengths > LARGEST_LENGTH).any():
            row = int(np.argmax(lengths))
            raise InputError(
                f"the impacts of document {ids[row]!r} sum to {lengths[row]}, more than Lucene's {LARGEST_LENGTH}: "
                f"a smaller scale than {self.scale} is needed"
            )
        values = batch_field_values(self.fields, ids, metadata)
        words = _in_words(matrix, impacts, self._document_terms)
        self._add(zip(ids, ((text,) for text in words), values, strict=True))

    def search(self, queries: "csr_matrix", k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best documents for each row of weights [queries, vocabulary] as `Index.search`.

        Ties at the cutoff are resolved too. Documents that share no term with a query are no hits of it.
        """
        return self._search_texts(self.query_texts(queries), k, filter)

    def score(self, queries: "csr_matrix", doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`."""
        return self._score_texts(self.query_texts(queries), doc_ids)

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each shared term with the product of its impacts in query and document: they sum to the score."""
        explained = super().matched_terms(self.query_texts(queries), hits) or []
        return multiply_impacts(explained, queries, hits, self.vocabulary, self.scale)

    def query_texts(self, weights: "csr_matrix") -> list[str]:
        """Write each row of `weights` [queries, vocabulary] for Lucene's classic query parser."""
        matrix = self._checked(weights)
        impacts = self._impacts(matrix, lambda row: f"query {row}")
        return list(_in_words(matrix, impacts, self._query_terms))

    def _checked(self, weights: "csr_matrix") -> "csr_matrix":
        from scipy.sparse import csr_matrix, issparse

        if not issparse(weights) or weights.ndim != 2:
            raise InputError(f"weights must be a scipy.sparse matrix [rows, vocabulary], not {type(weights).__name__}")
        if weights.shape[1] != len(self.vocabulary):
            raise InputError(
                f"the index {self.path} has a vocabulary of {counted(len(self.vocabulary), 'term')}, not "
                f"{weights.shape[1]}: "
                "was another encoder used?"
            )
        matrix = csr_matrix(weights)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        return matrix

    def _impacts(self, matrix: "csr_matrix", name: Any) -> NDArray[np.int64]:
        data = matrix.data if matrix.data.dtype.itemsize >= 4 else matrix.data.astype(np.float32)
        scaled = np.rint(data * self.scale)
        fine = (data >= 0) & (scaled <= LARGEST_IMPACT)
        if not fine.all():
            at = int(np.argmin(fine))
            row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
            raise InputError(
                f"{name(row)}: the weight {data[at]} of the term {self.vocabulary[matrix.indices[at]]!r} cannot be an "
                f"impact; a weight times the scale {self.scale} must be a number from 0 to {LARGEST_IMPACT}"
            )
        return scaled.astype(np.int64)

    def _make_similarity(self) -> Any:
        return java_class("io.anserini.search.similarity.ImpactSimilarity")()

    def _make_analyzer(self) -> Any:
        tokenizer, frequency = java_class("java.util.HashMap")(), java_class("java.util.HashMap")()
        # In UTF-16 units: the term, the delimiter and the digits of its impact.
        tokenizer.put("maxTokenLen", str(2 * LONGEST_TERM + 16))
        frequency.put("delimiter", DELIMITER)
        builder = java_class("org.apache.lucene.analysis.custom.CustomAnalyzer").builder()
        builder.withTokenizer("whitespace", tokenizer)
        builder.addTokenFilter("delimitedTermFrequency", frequency)
        return builder.build()

    def _make_parser(self) -> Any:
        parse = method(_PARSER, "parse", "(Ljava/lang/String;)Lorg/apache/lucene/search/Query;")
        make = constructor(_PARSER, "(Ljava/lang/String;Lorg/apache/lucene/analysis/Analyzer;)V")
        keyword = java_class("org.apache.lucene.analysis.core.KeywordAnalyzer")()
        # A parser keeps state while it parses, so each query has its own.
        return supply(parse, bind(make, 0, CONTENTS, keyword))


def _in_words(matrix: "csr_matrix", impacts: NDArray[np.int64], terms: NDArray[np.object_]) -> Iterator[str]:
    """Write each row as text: its terms, each followed by its impact and a space; impacts of 0 are left out."""
    for start in range(0, matrix.shape[0], ROWS):
        indptr = matrix.indptr[start : start + ROWS + 1].astype(np.int64)
        part = slice(int(indptr[0]), int(indptr[-1]))
        kept = np.flatnonzero(impacts[part])
        numbers, codes = np.unique(impacts[part][kept], return_inverse=True)
        pieces = np.empty(2 * len(kept), dtype=object)
        pieces[0::2] = terms[matrix.indices[part][kept]]
        pieces[1::2] = np.array([f"{number} " for number in numbers.tolist()], dtype=object)[codes]
        words = pieces.tolist()
        bounds = (2 * np.searchsorted(kept, indptr - indptr[0])).tolist()
        for row in range(len(bounds) - 1):
            yield "".join(words[bounds[row] : bounds[row + 1]])


def _check_vocabulary(vocabulary: Sequence[str]) -> None:
    places: dict[str, int] = {}
    for place, term in enumerate(vocabulary):
        if not isinstance(term, str) or not term:
            raise InputError(f"term {place} of the vocabulary must be a non-empty string, not {term!r}")
        if term.split() != [term] or DELIMITER in term:
            raise InputError(f"term {place} of the vocabulary, {term!r}, holds white space or U+0001")
        if len(term) > LONGEST_TERM:
            raise InputError(
                f"term {place} of the vocabulary is longer than {counted(LONGEST_TERM, 'character')}: {term[:40]!r}…"
            )
        if not _encodes(term):
            raise InputError(f"term {place} of the vocabulary, {term!a}, holds half of a surrogate pair")
        if places.setdefault(term, place) != place:
            raise InputError(f"the vocabulary holds {term!r} twice, at {places[term]} and {place}")
    if not places:
        raise InputError("the vocabulary is empty")


def _encodes(term: str) -> bool:
    try:
        term.encode()
    except UnicodeEncodeError:
        return False
    return True

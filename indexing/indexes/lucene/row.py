"""LuceneRow: a Lucene document that is reused for every document of the index.

Creating its fields again takes longer than indexing them. Use it within `java_calls`.
"""

from collections.abc import Sequence

from indexing.filters import Fields, Values
from indexing.indexes.lucene.filters import LuceneFields
from indexing.indexes.lucene.jvm import java_class
from indexing.indexes.lucene.search import ID


class LuceneRow:
    """A Lucene ``Document`` with an id, text fields and declared fields.

    Parameters
    ----------
    text_fields
        Names of the analyzed fields.
    norms
        True to store their lengths.
    declared
        The filter fields.
    positions
        True to store the positions of words.
    """

    def __init__(self, text_fields: Sequence[str], norms: bool, declared: Fields, positions: bool = False) -> None:
        import jnius

        fields = "org.apache.lucene.document."
        empty = jnius.cast("java.lang.CharSequence", java_class("java.lang.String")(""))
        kind = java_class(fields + "FieldType")()
        options = java_class("org.apache.lucene.index.IndexOptions")
        kind.setIndexOptions(options.DOCS_AND_FREQS_AND_POSITIONS if positions else options.DOCS_AND_FREQS)
        kind.setOmitNorms(not norms)
        kind.freeze()
        self._id = java_class(fields + "StringField")(ID, "", java_class(fields + "Field$Store").YES)
        self._sort_id = java_class(fields + "BinaryDocValuesField")(
            ID, java_class("org.apache.lucene.util.BytesRef")(b"")
        )
        self._texts = [java_class(fields + "Field")(name, empty, kind) for name in text_fields]
        self._declared = LuceneFields(declared) if declared else None
        self.document = java_class(fields + "Document")()
        for field in (self._id, self._sort_id, *self._texts):
            self.document.add(field)

    def fill(self, doc_id: str, texts: Sequence[str], values: Values) -> None:
        """Replace the contents: the id, one text per text field, and the values of declared fields."""
        self._id.setStringValue(doc_id)
        self._sort_id.setBytesValue(doc_id.encode())
        for field, text in zip(self._texts, texts, strict=True):
            field.setStringValue(text)
        if self._declared is not None:
            self.document.clear()
            for field in (self._id, self._sort_id, *self._texts, *self._declared.of(values)):
                self.document.add(field)

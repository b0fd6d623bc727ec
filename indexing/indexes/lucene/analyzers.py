"""Lucene analyzers: Anserini's English one, and one for each language that Lucene supports."""

from typing import Any

from indexing.errors import InputError
from indexing.indexes.bm25_weights import DEFAULT_ANALYZER
from indexing.indexes.lucene.jvm import java_class

DEFAULT = DEFAULT_ANALYZER

_LUCENE = "org.apache.lucene.analysis."

ANALYZERS = {
    DEFAULT: "io.anserini.analysis.DefaultEnglishAnalyzer",
    "standard": _LUCENE + "standard.StandardAnalyzer",
    "whitespace": _LUCENE + "core.WhitespaceAnalyzer",
    "ar": _LUCENE + "ar.ArabicAnalyzer",
    "bg": _LUCENE + "bg.BulgarianAnalyzer",
    "bn": _LUCENE + "bn.BengaliAnalyzer",
    "ca": _LUCENE + "ca.CatalanAnalyzer",
    "ckb": _LUCENE + "ckb.SoraniAnalyzer",
    "cs": _LUCENE + "cz.CzechAnalyzer",
    "da": _LUCENE + "da.DanishAnalyzer",
    "de": _LUCENE + "de.GermanAnalyzer",
    "el": _LUCENE + "el.GreekAnalyzer",
    "en": _LUCENE + "en.EnglishAnalyzer",
    "es": _LUCENE + "es.SpanishAnalyzer",
    "et": _LUCENE + "et.EstonianAnalyzer",
    "eu": _LUCENE + "eu.BasqueAnalyzer",
    "fa": _LUCENE + "fa.PersianAnalyzer",
    "fi": _LUCENE + "fi.FinnishAnalyzer",
    "fr": _LUCENE + "fr.FrenchAnalyzer",
    "ga": _LUCENE + "ga.IrishAnalyzer",
    "gl": _LUCENE + "gl.GalicianAnalyzer",
    "hi": _LUCENE + "hi.HindiAnalyzer",
    "hu": _LUCENE + "hu.HungarianAnalyzer",
    "hy": _LUCENE + "hy.ArmenianAnalyzer",
    "id": _LUCENE + "id.IndonesianAnalyzer",
    "it": _LUCENE + "it.ItalianAnalyzer",
    "ja": _LUCENE + "ja.JapaneseAnalyzer",
    "ko": _LUCENE + "cjk.CJKAnalyzer",
    "lt": _LUCENE + "lt.LithuanianAnalyzer",
    "lv": _LUCENE + "lv.LatvianAnalyzer",
    "ne": _LUCENE + "ne.NepaliAnalyzer",
    "nl": _LUCENE + "nl.DutchAnalyzer",
    "no": _LUCENE + "no.NorwegianAnalyzer",
    "pt": _LUCENE + "pt.PortugueseAnalyzer",
    "pt-br": _LUCENE + "br.BrazilianAnalyzer",
    "ro": _LUCENE + "ro.RomanianAnalyzer",
    "ru": _LUCENE + "ru.RussianAnalyzer",
    "sr": _LUCENE + "sr.SerbianAnalyzer",
    "sv": _LUCENE + "sv.SwedishAnalyzer",
    "ta": _LUCENE + "ta.TamilAnalyzer",
    "te": _LUCENE + "te.TeluguAnalyzer",
    "th": _LUCENE + "th.ThaiAnalyzer",
    "tr": _LUCENE + "tr.TurkishAnalyzer",
    "uk": _LUCENE + "uk.UkrainianMorfologikAnalyzer",
    "zh": _LUCENE + "cjk.CJKAnalyzer",
}
"""Java class of each analyzer; an ISO 639 code names one with its language's stopwords and stemmer (CJK: bigrams)."""


def check_analyzer(name: str) -> str:
    """Return the name if it is known.

    Raises
    ------
    InputError
        For an unknown name, listing the known ones.
    """
    if name not in ANALYZERS:
        others = "; Qdrant's own are for legs in Qdrant" if name.startswith("qdrant") else ""
        raise InputError(f"unknown analyzer {name!r}{others}: choose one of {', '.join(ANALYZERS)}")
    return name


def keeps_case(name: str) -> bool:
    """Return whether an analyzer distinguishes upper and lower case."""
    return name == "whitespace"


def make_analyzer(name: str) -> Any:
    """Create the Lucene ``Analyzer``; call it within `java_calls`."""
    analyzer = java_class(ANALYZERS[name])
    return analyzer.newDefaultInstance() if name == DEFAULT else analyzer()

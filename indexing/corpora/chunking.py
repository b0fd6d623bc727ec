"""Chunking: splits long texts by tokens, sentences or headings, and records each chunk's span in the text.

The chunks of a text leave nothing out: each begins where the one before ends, or earlier by the overlap. So the text
can be reassembled from them (`indexing.corpora.chunked.assemble`), and a match in a chunk can be shown in the text.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

from indexing.errors import InputError
from indexing.inputs import whole_number

ChunkBy = Literal["tokens", "sentences", "markdown", "pages"]

Spans: TypeAlias = Sequence[tuple[int, int]]
"""(start, end) in characters of the parts of a text, ascending."""

LONGEST_WORD = 32
"""Maximum number of characters of a word that counts as one token; a longer run (Base64, hashes) is no word."""
PIECE_OF_LONG_WORD = 4
"""Number of characters of such a run that count as one token, about as many as models read as one."""
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9df\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
)
"""Characters of scripts without spaces between words: Chinese, kana, Thai, Lao, Tibetan, Burmese, Khmer, Tai, Yi, …"""
_WORD = re.compile(
    rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,{LONGEST_WORD}}}+(?![^\W{_UNSPACED}])"
    rf"|[^\W{_UNSPACED}]{{1,{PIECE_OF_LONG_WORD}}}|[^\w\s]"
)
_FULL_STOPS = "。！？｡．।॥؟۔։።፧။។៕᠃"
_SENTENCE_END = re.compile(rf"""[.!?…]+["'”’»)\]]*\s+|[{_FULL_STOPS}]+["'”’」』）»)\]]*\s*|\n[ \t]*\n\s*""")
_LAST_WORD = re.compile(r"[\w.]*$")
_ABBREVIATION = re.compile(r"al|art|cf|ch|dr|e\.g|eq|etc|fig|i\.e|jr|mrs?|ms|no|nr|pp?|prof|resp|sec|sr|st|vol|vs")
_LONGEST_ABBREVIATION = 8
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_PAGE = re.compile(r"\f(?=[^\S\f]*\S)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: characters `start` up to, not including, `end`, and the headings above it."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


def words(text: str) -> Spans:
    """Return the spans of tokens: each word of letters, digits and ``_``, and each other character but white space.

    In scripts without spaces (Chinese, kana, Thai, …) each character is a token. A combining mark (a vowel sign, an
    accent) belongs to the token before it. Of a run of more than `LONGEST_WORD` letters every `PIECE_OF_LONG_WORD`
    are a token.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    return spans if text.isascii() else _with_marks(text, spans)


def _with_marks(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join each token that is a combining mark with the one directly before it."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        mark = end - start == 1 and unicodedata.category(text[start]).startswith("M")
        if mark and joined and joined[-1][1] == start and end - joined[-1][0] <= LONGEST_WORD + PIECE_OF_LONG_WORD:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


@dataclass(frozen=True, slots=True)
class Chunking:
    """Settings of the split of texts into chunks; an instance is a function from a text to its chunks.

    Parameters
    ----------
    by
        ``"tokens"``: chunks of `size` tokens each, also across sentences. ``"sentences"``: as many whole sentences
        as fit. ``"markdown"``: the sections of headings (``#`` to ``######``, outside of code blocks); a longer
        section is split by sentences. ``"pages"``: the pages between form feeds (U+000C), likewise. A sentence
        longer than `size` is split by tokens.
    size
        Maximum number of tokens in a chunk.
    overlap
        Number of tokens that a chunk shares with the one before, by default an eighth of `size`; sentences are
        shared whole, as many as fit in it.
    tokens
        Function from a text to the spans of its tokens. The default (`words`) takes words and punctuation marks, and
        each character of Chinese, Thai and the like; it suits any model. To stay within a model's maximum length, use
        its tokens, from `retrieve.reranking.passages.Windows`:
        ``lambda text: windows.spans([text])[0].tolist()``.

    Raises
    ------
    InputError
        For a size below 1, or an overlap outside of 0 to `size` - 1.
    """

    by: ChunkBy = "sentences"
    size: int = 256
    overlap: int | None = None
    tokens: Callable[[str], Spans] = words

    def __post_init__(self) -> None:
        if self.by not in get_args(ChunkBy):
            raise InputError(f"chunks are split by {', '.join(get_args(ChunkBy))}, not by {self.by!r}")
        object.__setattr__(self, "size", whole_number(self.size, "size (--chunk-size)"))
        if not 0 <= self.shared < self.size:
            raise InputError(
                f"overlap (--chunk-overlap) must be at least 0 and below size ({self.size}), not {self.overlap}"
            )

    @property
    def shared(self) -> int:
        """Number of tokens that a chunk shares with the one before."""
        return self.size // 8 if self.overlap is None else self.overlap

    def __call__(self, text: str) -> list[Chunk]:
        """Split a text; one of at most `size` tokens without headings is a single chunk."""
        split = {"markdown": markdown_sections, "pages": page_sections}.get(self.by)
        sections = [Chunk(0, len(text))] if split is None else split(text)
        chunks = []
        for section in sections:
            tokens = self.tokens(text[section.start : section.end])
            spans = [(first + section.start, last + section.start) for first, last in tokens]
            if self.by == "tokens":
                parts = by_tokens(spans, section.start, section.end, size=self.size, overlap=self.shared)
            else:
                starts = [section.start + start for start in sentence_starts(text[section.start : section.end])]
                parts = by_sentences(spans, starts, section.end, size=self.size, overlap=self.shared)
            chunks += [Chunk(start, end, section.headings) for start, end in parts]
        return chunks

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        tokens = getattr(self.tokens, "__qualname__", type(self.tokens).__qualname__)
        return {"by": self.by, "size": self.size, "overlap": self.shared, "tokens": tokens}


def by_tokens(spans: Spans, start: int, end: int, *, size: int, overlap: int) -> list[tuple[int, int]]:
    """Split the characters `start` to `end` into pieces of `size` tokens that share `overlap` tokens.

    Parameters
    ----------
    spans
        The tokens between `start` and `end`.

    Returns
    -------
    list of (start, end)
        The white space after a token belongs to its piece.
    """
    firsts = range(0, max(len(spans) - overlap, 1), size - overlap)
    return [
        (spans[first][0] if first else start, spans[first + size][0] if first + size < len(spans) else end)
        for first in firsts
    ]


def by_sentences(spans: Spans, starts: Sequence[int], end: int, *, size: int, overlap: int) -> list[tuple[int, int]]:
    """Group sentences into pieces of at most `size` tokens.

    A piece begins with the last whole sentences of the one before, as many as have at most `overlap` tokens and leave
    room for the next sentence. A sentence of more than `size` tokens is split as by `by_tokens`, and shares nothing
    with its neighbours.

    Parameters
    ----------
    spans
        The tokens.
    starts
        Start of each sentence; the first is the start of the text.
    end
        End of the last sentence.
    """
    bounds = [*starts, end]
    before = [bisect_left(spans, (bound, -1)) for bound in bounds]
    pieces: list[tuple[int, int]] = []
    first = sentence = 0
    while sentence < len(starts):
        if before[sentence + 1] - before[sentence] > size:
            own = spans[before[sentence] : before[sentence + 1]]
            pieces += by_tokens(own, bounds[sentence], bounds[sentence + 1], size=size, overlap=overlap)
            first = sentence = sentence + 1
            continue
        while sentence < len(starts) and before[sentence + 1] - before[first] <= size:
            sentence += 1
        pieces.append((bounds[first], bounds[sentence]))
        if sentence == len(starts) or before[sentence + 1] - before[sentence] > size:
            first = sentence
            continue
        first += 1
        while before[sentence] - before[first] > overlap or before[sentence + 1] - before[first] > size:
            first += 1
    return pieces


def sentence_starts(text: str) -> list[int]:
    """Find where sentences start: after a full stop, question or exclamation mark, and after an empty line.

    Marks of all scripts count. A Latin one does not end a sentence after an abbreviation or an initial, nor when a
    lower-case letter follows. The first sentence starts at 0; the white space after a sentence belongs to it.
    """
    starts = [0]
    for match in _SENTENCE_END.finditer(text):
        if match.end() < len(text) and not _continues(text, match.start(), match.end()):
            starts.append(match.end())
    return starts


def _continues(text: str, stop: int, following: int) -> bool:
    """Return whether the sentence continues after the mark at `stop`."""
    if text[stop] not in ".!?…" or "\n\n" in text[stop:following]:
        return False
    if text[stop] != ".":
        return text[following].islower()
    last = _LAST_WORD.search(text[max(0, stop - _LONGEST_ABBREVIATION) : stop])
    word = last.group() if last is not None else ""
    initial = len(word) == 1 and word.isupper()
    return text[following].islower() or initial or _ABBREVIATION.fullmatch(word.lower()) is not None


def markdown_sections(text: str) -> list[Chunk]:
    """Split a Markdown text at its headings; each section lists the headings above it, its own last.

    A heading directly followed by a deeper one belongs to that one's section.
    """
    sections: list[Chunk] = []
    path: list[tuple[int, str]] = []
    start, body = 0, False
    for first, last, level, title in _markdown_lines(text):
        if not level:
            body = body or not text[first:last].isspace()
            continue
        # The section above ends here, unless it consists only of a heading above this one.
        if body or (path and level <= path[-1][0]):
            sections.append(Chunk(start, first, tuple(name for _, name in path)))
            start = first
        path = [*(above for above in path if above[0] < level), (level, title)]
        body = False
    sections.append(Chunk(start, len(text), tuple(name for _, name in path)))
    return sections


def page_sections(text: str) -> list[Chunk]:
    """Split a text at its form feeds, each of which begins a page; an empty page belongs to the one before."""
    starts = [match.start() for match in _PAGE.finditer(text)]
    if not starts or text[: starts[0]].strip():
        starts.insert(0, 0)
    bounds = [0, *starts[1:], len(text)]
    return [Chunk(start, end) for start, end in pairwise(bounds)]


def _markdown_lines(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Yield each line's start and end, and its heading level and heading text (level 0: not a heading)."""
    fence, first = "", 0
    for line in text.splitlines(keepends=True):
        last = first + len(line)
        mark = _FENCE.match(line)
        heading = None if fence else _HEADING.match(line.rstrip("\r\n"))
        if mark is not None and not fence:
            fence = mark.group(1)
        elif mark is not None and mark.group(1).startswith(fence) and not line[mark.end() :].strip():
            fence = ""
        yield first, last, len(heading.group(1)) if heading else 0, (heading.group(2) or "") if heading else ""
        first = last

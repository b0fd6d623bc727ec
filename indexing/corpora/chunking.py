"""Chunking: long texts cut into pieces whose places in the text are known, by tokens, by sentences or by headings.

Pieces of one text leave nothing out: each begins where the one before ends, or earlier by the overlap. So the text can
be put together again from them (`indexing.corpora.chunked.assemble`), and what is found in a piece can be shown in its
place.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from indexing.errors import InputError

ChunkBy = Literal["tokens", "sentences", "markdown"]

Spans: TypeAlias = Sequence[tuple[int, int]]
"""Where things begin and end in a text, in characters, ascending."""

_WORD = re.compile(r"\w+|[^\w\s]")
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*\s+|[。！？]+["'”’」』）]*\s*|\n[ \t]*\n\s*""")
_LAST_WORD = re.compile(r"[\w.]*$")
_ABBREVIATIONS = frozenset(
    [
        "al",
        "art",
        "cf",
        "ch",
        "dr",
        "e.g",
        "eq",
        "etc",
        "fig",
        "i.e",
        "jr",
        "mr",
        "mrs",
        "ms",
        "no",
        "nr",
        "p",
        "pp",
        "prof",
        "resp",
        "sec",
        "sr",
        "st",
        "vol",
        "vs",
    ]
)
_LONGEST_ABBREVIATION = 8
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: characters `start` to `end` (not included), and the headings it stands under."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


def words(text: str) -> Spans:
    """Count a run of letters and digits as one token, and so every other mark that is no space."""
    return [match.span() for match in _WORD.finditer(text)]


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are cut.

    Parameters
    ----------
    by
        ``"tokens"``: pieces of `size` tokens each, wherever that cuts. ``"sentences"``: as many whole sentences as
        fit. ``"markdown"``: sections by their headings (``#`` to ``######``, outside of code blocks), and of long
        ones as many whole sentences as fit. A sentence that is too long by itself is cut by tokens.
    size
        How many tokens a piece has at most.
    overlap
        How many tokens a piece shares with the one before, an eighth of `size` by default; of sentences, as many whole
        ones as fit in that.
    tokens
        Says where the tokens of a text stand. By default words and marks (`words`), which is the same for every model;
        a model's own, for one that must not be given more than it reads, come from
        `retrieve.reranking.passages.Windows`: ``lambda text: windows.spans([text])[0].tolist()``.

    Raises
    ------
    InputError
        For a size below 1, or an overlap that is not below the size.
    """

    by: ChunkBy = "sentences"
    size: int = 256
    overlap: int | None = None
    tokens: Callable[[str], Spans] = words

    def __post_init__(self) -> None:
        if self.by not in get_args(ChunkBy):
            raise InputError(f"chunks are cut by {', '.join(get_args(ChunkBy))}, not by {self.by!r}")
        if self.size < 1:
            raise InputError(f"size must be at least 1, not {self.size}")
        if not 0 <= self.shared < self.size:
            raise InputError(f"overlap must be at least 0 and below size ({self.size}), not {self.overlap}")

    @property
    def shared(self) -> int:
        """How many tokens a piece shares with the one before."""
        return self.size // 8 if self.overlap is None else self.overlap

    def __call__(self, text: str) -> list[Chunk]:
        """Cut a text; one of at most `size` tokens without headings is one piece."""
        sections = markdown_sections(text) if self.by == "markdown" else [Chunk(0, len(text))]
        pieces = []
        for section in sections:
            tokens = self.tokens(text[section.start : section.end])
            spans = [(first + section.start, last + section.start) for first, last in tokens]
            if self.by == "tokens":
                cut = by_tokens(spans, section.start, section.end, size=self.size, overlap=self.shared)
            else:
                starts = [section.start + start for start in sentence_starts(text[section.start : section.end])]
                cut = by_sentences(spans, starts, section.end, size=self.size, overlap=self.shared)
            pieces += [Chunk(start, end, section.headings) for start, end in cut]
        return pieces

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that say how texts are cut."""
        tokens = getattr(self.tokens, "__qualname__", type(self.tokens).__qualname__)
        return {"by": self.by, "size": self.size, "overlap": self.shared, "tokens": tokens}


def by_tokens(spans: Spans, start: int, end: int, *, size: int, overlap: int) -> list[tuple[int, int]]:
    """Cut the characters `start` to `end` into pieces of `size` tokens; the first `overlap` end the piece before.

    Parameters
    ----------
    spans
        The tokens between `start` and `end`.

    Returns
    -------
    list of (start, end)
        The space after a token goes with it.
    """
    firsts = range(0, max(len(spans) - overlap, 1), size - overlap)
    return [
        (spans[first][0] if first else start, spans[first + size][0] if first + size < len(spans) else end)
        for first in firsts
    ]


def by_sentences(spans: Spans, starts: Sequence[int], end: int, *, size: int, overlap: int) -> list[tuple[int, int]]:
    """Put sentences together to pieces of at most `size` tokens.

    A piece begins with as many whole sentences of the one before as have at most `overlap` tokens and leave room for
    the next. A sentence of more than `size` tokens is cut as by `by_tokens`, and shares nothing with its neighbours.

    Parameters
    ----------
    spans
        The tokens.
    starts
        Where the sentences begin, the first of them where the text does.
    end
        Where the last one ends.
    """
    bounds = [*starts, end]
    before = [bisect_left(spans, (bound, -1)) for bound in bounds]
    pieces: list[tuple[int, int]] = []
    first = place = 0
    while place < len(starts):
        if before[place + 1] - before[place] > size:
            own = spans[before[place] : before[place + 1]]
            pieces += by_tokens(own, bounds[place], bounds[place + 1], size=size, overlap=overlap)
            first = place = place + 1
            continue
        while place < len(starts) and before[place + 1] - before[first] <= size:
            place += 1
        pieces.append((bounds[first], bounds[place]))
        if place == len(starts) or before[place + 1] - before[place] > size:
            first = place
            continue
        first += 1
        while before[place] - before[first] > overlap or before[place + 1] - before[first] > size:
            first += 1
    return pieces


def sentence_starts(text: str) -> list[int]:
    """Say where sentences begin: after a full stop, question or exclamation mark, and after an empty line.

    Not after an abbreviation or an initial, nor where a small letter follows. The first begins at 0; the space after
    a sentence belongs to it.
    """
    starts = [0]
    for match in _SENTENCE_END.finditer(text):
        if match.end() < len(text) and not _goes_on(text, match.start(), match.end()):
            starts.append(match.end())
    return starts


def _goes_on(text: str, stop: int, following: int) -> bool:
    """Say whether the mark at `stop` ends no sentence."""
    if text[stop] not in ".!?…" or "\n\n" in text[stop:following]:
        return False
    if text[stop] != ".":
        return text[following].islower()
    last = _LAST_WORD.search(text[max(0, stop - _LONGEST_ABBREVIATION) : stop])
    word = last.group() if last is not None else ""
    initial = len(word) == 1 and word.isupper()
    return text[following].islower() or initial or word.lower() in _ABBREVIATIONS


def markdown_sections(text: str) -> list[Chunk]:
    """Cut a Markdown text at its headings, each section with the headings above it, its own last.

    A heading with nothing under it but a deeper one goes with that one's section.
    """
    sections: list[Chunk] = []
    path: list[tuple[int, str]] = []
    start, body = 0, False
    for first, last, level, title in _markdown_lines(text):
        if not level:
            body = body or not text[first:last].isspace()
            continue
        # The section above ends here, unless all it has is a heading above this one.
        if body or (path and level <= path[-1][0]):
            sections.append(Chunk(start, first, tuple(name for _, name in path)))
            start = first
        path = [*(above for above in path if above[0] < level), (level, title)]
        body = False
    sections.append(Chunk(start, len(text), tuple(name for _, name in path)))
    return sections


def _markdown_lines(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Give each line's begin and end, and the level and words of the heading it is (level 0: none)."""
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

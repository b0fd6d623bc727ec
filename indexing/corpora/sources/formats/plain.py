"""Plain text in any encoding, Markdown and source code."""

import re

from indexing.corpora.sources.formats.extracted import Extracted, bounded, one_line
from indexing.errors import InputError

SAMPLE_BYTES = 64 * 1024
"""Number of bytes from which an encoding is guessed."""
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_FIELD = re.compile(r"^(title|lang|language)[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FIRST_HEADING = re.compile(r"(?:^|\n) {0,3}#[ \t]+(.+?)[ \t#]*(?:\n|$)")


def decode(data: bytes) -> str:
    """Decode text: by its byte order mark, as UTF-8, as UTF-16 without a mark, else by a guess from its first bytes.

    Line ends become LF, and control characters other than tab and page break are removed.

    Raises
    ------
    InputError
        For data that are no text.
    """
    text = _decoded(data)
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return bounded(_CONTROLS.sub("", text))


def plain(data: bytes) -> Extracted:
    """Read a plain text."""
    return Extracted(decode(data), "text")


def code(data: bytes) -> Extracted:
    """Read source code."""
    return Extracted(decode(data), "code")


def markdown(data: bytes) -> Extracted:
    """Read Markdown; the title is the front matter's, or the first heading of the first level."""
    text = decode(data)
    front = _FRONT_MATTER.match(text)
    stated = {key.lower(): value.strip("'\" ") for key, value in _FRONT_FIELD.findall(front[1])} if front else {}
    heading = _FIRST_HEADING.search(text)
    title = stated.get("title") or (heading[1] if heading else "")
    return Extracted(text, "markdown", one_line(title), stated.get("lang") or stated.get("language") or "")


def code_block(text: str, language: str) -> str:
    """Return code as a Markdown code block, between longer fences if it contains the usual one."""
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text}\n{fence}"


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding).removeprefix("\ufeff")
            except UnicodeDecodeError as error:
                raise InputError(f"begins as {encoding} and is not: {error.reason} at byte {error.start}") from None
    sample = data[:SAMPLE_BYTES]
    if b"\0" in sample:
        return _utf_16(data, sample)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _guessed(data, sample)


def _utf_16(data: bytes, sample: bytes) -> str:
    """Decode UTF-16 without a byte order mark, recognised by zeros in every other byte."""
    half = len(sample) // 2 or 1
    even, odd = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if max(even, odd) > 0.3 and min(even, odd) < 0.05:
        try:
            return data.decode("utf-16-le" if odd > even else "utf-16-be")
        except UnicodeDecodeError:
            pass  # the zeros are not those of UTF-16
    raise InputError("is not text: it contains zero bytes")


def _guessed(data: bytes, sample: bytes) -> str:
    from charset_normalizer import from_bytes

    guesses = from_bytes(sample)
    best = guesses.best()
    if best is None:
        raise InputError("is not text in any encoding that could be recognised: save it as UTF-8")
    encoding = best.encoding
    # Few accented letters fit many encodings. Western European is by far the most frequent, so it wins unless the
    # sample reads clearly better otherwise.
    western = next((guess for guess in guesses if "cp1252" in (guess.encoding, *guess.could_be_from_charset)), None)
    if western is not None and western.chaos <= best.chaos + 0.02 and western.coherence >= best.coherence - 0.1:
        encoding = "cp1252"
    if encoding == "utf_8" or encoding == "ascii":
        encoding = "cp1252"
    return data.decode(encoding, errors="replace")

"""Made-up documents with queries: three families whose documents hold a unique word each, and one of common words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

DOCUMENTS, QUERIES = 600, 60


@dataclass(frozen=True, slots=True)
class Family:
    """Documents by id, and the queries that each have one right document.

    Parameters
    ----------
    documents
        ``{doc_id: text}``.
    bare, asked
        Queries by the id of their right document: the rare word alone, and the same inside a short question. The
        family of common words has only `asked`.
    """

    documents: dict[str, str]
    bare: dict[str, str]
    asked: dict[str, str]


def part_numbers(seed: int = 0) -> Family:
    """Return a catalogue in which each text contains a unique part number such as ``XL-3359-Y``."""
    draw = Random(seed)
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"

    def number() -> str:
        return f"{draw.choice(letters)}{draw.choice(letters)}-{draw.randrange(1000, 10000)}-{draw.choice(letters)}"

    return _family(
        _different(number),
        _CATALOGUE,
        ("which machine takes {}", "how much does the part {} weigh?", "do you have {} in stock?", "spare part {}"),
        draw,
    )


def error_codes(seed: int = 1) -> Family:
    """Return a manual in which each text explains a unique error code, of four kinds."""
    draw = Random(seed)
    kinds: Sequence[Callable[[], str]] = (
        lambda: f"E{draw.randrange(1000, 10000)}",
        lambda: f"0x{draw.randrange(0x80000000, 0x80100000):08X}",
        lambda: f"{draw.choice(('ORA', 'SYS', 'NET', 'DB'))}-{draw.randrange(10000, 100000)}",
        lambda: f"ERR_{draw.choice(('TLS', 'DISK', 'AUTH', 'CACHE'))}_{draw.randrange(100, 10000)}",
    )
    return _family(
        _different(lambda: draw.choice(kinds)()),
        _MANUAL,
        ("what does error {} mean?", "how do I fix {}", "the program stops with {}", "{} after the update"),
        draw,
    )


def surnames(seed: int = 2) -> Family:
    """Return notes about people in which each text names one person by a rare surname."""
    draw = Random(seed)
    starts = [
        "Bran",
        "Cher",
        "Dob",
        "Fal",
        "Grz",
        "Hav",
        "Jes",
        "Kov",
        "Lund",
        "Mroz",
        "Nied",
        "Oss",
        "Prz",
        "Quen",
        "Rad",
        "Szy",
        "Tvar",
        "Ulf",
        "Vand",
        "Wyb",
        "Zab",
    ]
    middles = ["a", "e", "i", "o", "u", "ar", "en", "il", "os", "un"]
    ends = [
        "bek",
        "czyk",
        "dal",
        "feld",
        "gren",
        "holt",
        "jnik",
        "kow",
        "lund",
        "mark",
        "nov",
        "quist",
        "rand",
        "ski",
        "stad",
        "tov",
        "vik",
        "wald",
        "zen",
    ]
    return _family(
        _different(lambda: draw.choice(starts) + draw.choice(middles) + draw.choice(ends)),
        _PEOPLE,
        ("who is {}?", "where does {} live", "what did Dr. {} study?", "letters to Mrs {}"),
        draw,
    )


def common_words(seed: int = 3) -> Family:
    """Return sentences of few common words, and queries that say the same with half of the words replaced."""
    draw = Random(seed)
    texts = [" ".join(words) for words in product(*(tuple(slot) for slot in _SLOTS))]
    documents = {f"d{place}": text for place, text in enumerate(draw.sample(texts, DOCUMENTS))}
    asked = {}
    for doc_id in draw.sample(sorted(documents), QUERIES):
        text = documents[doc_id]
        slots = [(word, other) for slot in _SLOTS for word, other in slot.items() if word in text]
        for word, other in draw.sample(slots, 2):
            text = text.replace(word, other)
        asked[doc_id] = text
    return Family(documents, {}, asked)


_CATALOGUE = (
    ("The", "Our", "This", "A"),
    ("hydraulic", "electric", "heavy", "compact", "sealed", "flexible", "hardened", "standard"),
    ("pump", "valve", "bearing", "gasket", "sensor", "hose", "bracket", "filter", "coupling", "spring"),
    ("with the part number {}", "{}", "sold as {}", "listed under {}"),
    ("fits the tractor", "is used in presses", "replaces an older model", "goes into the loader", "is for conveyors"),
    ("and weighs two kilograms.", "and ships in a week.", "and is made of steel.", "and is in stock.", "on request."),
)
_MANUAL = (
    ("The error {} means that", "{} is shown when", "Code {} appears if", "The device reports {} because"),
    ("the connection", "the disk", "the license", "the certificate", "the cache", "the printer", "the database"),
    ("was lost", "is full", "has expired", "could not be read", "does not answer", "was updated", "is locked"),
    ("during the start.", "after the update.", "in the night job.", "on the second attempt.", "while saving a file."),
    ("Restart the program to fix it.", "Ask the administrator.", "Try again later.", "Check the settings."),
)
_PEOPLE = (
    ("Dr. {}", "Mrs {}", "Mr {}", "Professor {}", "Captain {}"),
    ("studied the rivers", "collected letters", "kept bees", "drew maps", "repaired clocks", "taught history"),
    ("in the north", "near the coast", "in a small village", "in the capital", "abroad", "on the island"),
    ("for many years", "as a young student", "until the war", "after the flood", "with two friends"),
    (
        "and lived with a sister.",
        "and wrote a diary.",
        "and never married.",
        "and died at home.",
        "and sold the house.",
    ),
)
_SLOTS: tuple[dict[str, str], ...] = (
    {"the doctor": "the physician", "the teacher": "the schoolmaster", "a child": "a kid", "the farmer": "the grower"},
    {"bought": "purchased", "repaired": "fixed", "sold": "gave away for money", "found": "discovered"},
    {"an old car": "an ancient automobile", "a small boat": "a little ship", "a warm coat": "a thick jacket"},
    {"in the town": "in the city", "near the forest": "close to the woods", "at the lake": "by the water"},
    {"last summer": "during the hot season", "before lunch": "prior to the midday meal", "at night": "after dark"},
    {"for a friend": "for a companion", "without help": "alone", "by mistake": "accidentally"},
)


FAMILIES: dict[str, Callable[[], Family]] = {
    "part numbers": part_numbers,
    "error codes": error_codes,
    "surnames": surnames,
    "common words": common_words,
}
"""The families by name."""


def _family(words: Sequence[str], text: Sequence[Sequence[str]], questions: Sequence[str], draw: Random) -> Family:
    documents = {
        f"d{place}": " ".join(draw.choice(part) for part in text).format(word) for place, word in enumerate(words)
    }
    chosen = draw.sample(range(len(words)), QUERIES)
    return Family(
        documents,
        {f"d{place}": words[place] for place in chosen},
        {f"d{place}": draw.choice(questions).format(words[place]) for place in chosen},
    )


def _different(make: Callable[[], str]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < DOCUMENTS:
        found[make()] = None
    return list(found)

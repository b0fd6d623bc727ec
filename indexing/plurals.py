"""Numbers with nouns, for messages and summaries."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1: ``1 document``, ``1,200 documents``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"

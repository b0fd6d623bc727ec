"""``retrieve info``: describe a collection."""

import argparse
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.commands.command import command, json_text, positive

if TYPE_CHECKING:
    from indexing.collection.reader import Collection


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    summary = "Describe a collection: documents, filter fields, legs, encoders, and the words of its BM25 leg."
    examples = (
        "retrieve info my-collection\n"
        "retrieve info my-collection --terms 50\n"
        "retrieve info my-collection --count vaccine --count measles\n"
        "retrieve info my-collection --terms-of doc42 --json"
    )
    parser = command(commands, "info", run, summary, examples)
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="a collection built by `retrieve index`; or a deployed one, its folder or http://HOST:6333/NAME",
    )
    parser.add_argument(
        "--terms",
        type=positive,
        nargs="?",
        const=20,
        metavar="N",
        help="the N words that most documents contain, as the index stores them, and the totals (20)",
    )
    parser.add_argument(
        "--count",
        action="append",
        default=[],
        metavar="TEXT",
        help="in how many documents the words of a text occur, and how often (repeatable)",
    )
    parser.add_argument("--terms-of", metavar="ID", help="the words of a document, with their counts")
    parser.add_argument("--json", action="store_true", help="print the manifest, or what is asked for, as JSON")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from dataclasses import asdict

    from indexing.indexes.registry import kind_of
    from pipelines.commands.index_options import described
    from pipelines.search.opening import is_deployed, open_collection

    deployed = is_deployed(options.directory)
    with open_collection(options.directory, {})[0] as collection:
        manifest = collection.manifest
        if options.terms or options.count or options.terms_of is not None:
            found = _words(collection, options)
            print(json_text(found) if options.json else "\n".join(_lines(found)))
            return 0
        stats = collection.stats()
    if options.json:
        content = asdict(manifest)
        for leg in content["legs"].values():
            if leg["encoder"] and "axes" in leg["encoder"]:
                leg["encoder"]["axes"] = _shape(leg["encoder"]["axes"], leg["parameters"]["dimension"])
        sizes = {name: getattr(stats, name) for name in ("dead", "sequence", "store_bytes", "shard_bytes")}
        print(json_text({**content, **({} if deployed else {"stats": sizes})}, indent=2))
        return 0
    source = "deployed" if deployed else f"from {manifest.corpus.get('description')}"
    print(f"{options.directory}: {counted(stats.documents, 'document')} {source}")
    fields = ", ".join(f"{name} ({kind})" for name, kind in manifest.fields.items())
    print(f"  filter fields: {fields or 'none (retrieve index --filter-field NAME:TYPE)'}")
    if not deployed:
        total = stats.store_bytes + sum(stats.shard_bytes.values()) + sum(leg.bytes for leg in manifest.legs.values())
        print(f"  size: {total / 1e6:.1f} MB, of which texts {stats.store_bytes / 1e6:.1f} MB")
        if stats.dead:
            reclaimed = f"`retrieve compact {shlex.quote(options.directory)}` removes them"
            print(f"  {counted(stats.dead, 'replaced or deleted document')} still stored: {reclaimed}")
    for name, leg in manifest.legs.items():
        size = "" if deployed else f", {counted(leg.count, 'document')}, {leg.bytes / 1e6:.1f} MB"
        if name in stats.shard_bytes:
            size += f" beside {stats.shard_bytes[name] / 1e6:.1f} MB of encoded documents"
        print(f"  {name}: {leg.backend}{size} ({described(leg.parameters)})")
        for remark in kind_of(leg.backend).remarks(leg.rows, leg.parameters):
            print(f"    {remark}")
        folder = Path(options.directory) / "legs" / leg.folder
        for note in () if deployed else kind_of(leg.backend).notes(folder):
            print(f"    {note}: `retrieve compact {shlex.quote(options.directory)}` restores the scores")
        if leg.encoder:
            factor = leg.encoder.get("pool_factor")
            pooling = "" if factor is None else f", documents' vectors pooled by {factor:g}"
            print(f"    encoded with {leg.encoder.get('name')} ({leg.encoder.get('dtype')}){pooling}")
    return 0


def _shape(axes: str, dimension: int) -> list[int]:
    """Return the shape of the axes that reduce token vectors, float16 in base64: they would fill the screen."""
    values = (len(axes) * 3 // 4 - axes.count("=")) // 2
    return [dimension, values // dimension]


def _words(collection: "Collection", options: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked about the words of the collection."""
    name = collection.manifest.first_leg("text")
    words = None if name is None else collection.index(name).words()
    if words is None:
        raise InputError(f"{options.directory} has no BM25 leg in Lucene, so it has no statistics of words")
    found: dict[str, Any] = {}
    if options.terms:
        found["totals"] = dict(words.totals)
        found["terms"] = {word: counts._asdict() for word, counts in words.most_frequent(options.terms)}
    if options.count:
        counts = words.counts(term for terms in words.analyzed(options.count) for term in terms)
        found["counts"] = {word: of_word._asdict() for word, of_word in counts.items()}
    if options.terms_of is not None:
        (terms,) = words.analyzed(collection.documents.contents([options.terms_of]))
        counts = words.counts(terms)
        found["document"] = {
            word: {"occurrences_here": times, **counts[word]._asdict()}
            for word, times in sorted(Counter(terms).items(), key=lambda entry: (-entry[1], entry[0]))
        }
    return found


def _lines(found: dict[str, Any]) -> Iterator[str]:
    if "totals" in found:
        totals = found["totals"]
        yield (
            f"{counted(totals['documents'], 'document')}, {counted(totals['words'], 'word')}, "
            f"{totals['distinct_words']:,} distinct, {totals['average_length']:.1f} in a document"
        )
    for part in ("terms", "counts", "document"):
        for word, numbers in found.get(part, {}).items():
            here = f"{numbers['occurrences_here']} here, " if "occurrences_here" in numbers else ""
            yield f"  {word}: {here}{counted(numbers['documents'], 'document')}, {numbers['occurrences']:,} in all"

"""``retrieve delete``: delete documents from a collection."""

import argparse
from typing import Any

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.commands.command import add_json_option, command, json_filter, json_text, standard_input_lines


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "delete",
        run,
        "Delete documents from a collection and all its legs. `retrieve compact` reclaims their space.",
        "retrieve delete my-collection --ids doc-17 doc-18\nretrieve delete my-collection --ids - < ids.txt\n"
        """retrieve delete my-collection --where '{"year": {"lt": 2000}}'""",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    selection = parser.add_mutually_exclusive_group(required=True)
    selection.add_argument(
        "--ids",
        nargs="+",
        metavar="ID",
        help="document ids; a document in chunks is deleted with all of them; - reads one per line from standard input",
    )
    selection.add_argument(
        "--where",
        "--filter",
        metavar="FILTER",
        help="all documents that match this filter, a JSON object over declared fields",
    )
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.writer import CollectionWriter
    from pipelines.search.judged_parents import with_chunks

    selection: dict[str, Any] = {"ids": _ids(options.ids)} if options.ids else {"filter": _filter(options.where)}
    with CollectionWriter.open(options.directory) as collection:
        if options.ids:
            selection["ids"] = with_chunks(collection.documents, selection["ids"])
        deleted = collection.delete(**selection)
        if deleted:
            collection.commit(corpus={**collection.manifest.corpus, "fingerprint": None})
        remaining = len(collection)
    missing = max(0, len(selection.get("ids", ())) - deleted)
    if options.json:
        print(json_text({"path": options.directory, "deleted": deleted, "documents": remaining, "not_found": missing}))
        return 0
    lacking = f"; {counted(missing, 'id')} not found" if missing else ""
    print(f"{options.directory}: {counted(deleted, 'document')} deleted, {remaining:,} left{lacking}")
    return 0


def _ids(given: list[str]) -> list[str]:
    ids = list(standard_input_lines()) if given == ["-"] else given
    ids = list(dict.fromkeys(doc_id for doc_id in ids if doc_id))
    if not ids:
        raise InputError("no ids were given")
    return ids


def _filter(text: str) -> dict[str, Any]:
    parsed = json_filter(text, "--where")
    if not parsed:
        raise InputError('--where takes a filter that is not empty, as in {"year": 2020}: {} would delete everything')
    return parsed

"""Make a BEIR folder of long documents: those of another folder, joined in groups, judged by their parts.

    python benchmarks/join_documents.py DIR/scifact --output DIR/scifact-tens

A joined document has the highest grade of its parts. For measuring how systems read long documents.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, it finds its neighbours only

from indexing.documents import Document
from pipelines.cli import script_main, script_parser


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument("folder", help="a BEIR folder (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv)")
    parser.add_argument("--split", default="test", help="split of the qrels (test)")
    parser.add_argument("--size", type=int, default=10, metavar="N", help="documents that are joined (10)")
    parser.add_argument("--output", required=True, metavar="DIR", help="the new folder")
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the new folder."""
    from pipelines.evaluation.datasets import load_evaluation_set
    from pipelines.search.blocks import blocks

    source, output = load_evaluation_set(options.folder, split=options.split), Path(options.output)
    (output / "qrels").mkdir(parents=True, exist_ok=True)
    group: dict[str, str] = {}

    def joined() -> Iterable[str]:
        for number, parts in enumerate(blocks(source.corpus, options.size)):
            name = f"joined{number}"
            group.update({part.doc_id: name for part in parts})
            yield json.dumps({"_id": name, "text": join(parts)})

    write_lines(output / "corpus.jsonl", joined())
    write_lines(
        output / "queries.jsonl",
        (json.dumps({"_id": query_id, "text": text}) for query_id, text in source.queries.items()),
    )
    grades: dict[tuple[str, str], int] = {}
    for query_id, judged in source.qrels.items():
        for doc_id, grade in judged.items():
            if doc_id in group:
                key = query_id, group[doc_id]
                grades[key] = max(grade, grades.get(key, grade))
    rows = ("\t".join((*key, str(grade))) for key, grade in grades.items())
    write_lines(output / "qrels" / f"{options.split}.tsv", ("query-id\tcorpus-id\tscore", *rows))
    return 0


def join(parts: Sequence[Document]) -> str:
    """Return the texts of documents, title and text each, as one."""
    return "\n\n".join(part.contents for part in parts)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())

"""``retrieve verify``: check a collection for damage, and repair it."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.commands.command import add_json_option, command, json_text, positive

if TYPE_CHECKING:
    from indexing.collection.verify import Problem

DAMAGED = 1


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "verify",
        run,
        "Read a whole collection, compare counts and checksums, and list each problem with its remedy; or compare it "
        "with another collection, or a deployed one. The exit status is 0 if there is no damage, or no difference "
        "beyond the bounds.",
        "retrieve verify my-collection\nretrieve verify my-collection --repair\n"
        "retrieve verify my-collection --against http://localhost:6333/my-collection --queries queries.jsonl",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="encode damaged documents again, rebuild damaged indexes, remove leftovers of killed jobs",
    )
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, if it has moved since the build")
    parser.add_argument("--sparse", metavar="MODEL", help="the sparse encoder, if it has moved since the build")
    against = parser.add_argument_group("compare answers")
    against.add_argument(
        "--against",
        metavar="DIR|URL",
        help="another collection, or a deployed one (its folder or http://HOST:6333/NAME): compare documents, every "
        "leg and the fused result",
    )
    against.add_argument(
        "--queries",
        metavar="FILE",
        help="queries, as for `evaluate`; or sampled: the beginnings of documents (sampled)",
    )
    against.add_argument("--sample", type=positive, metavar="N", help="number of sampled queries (100)")
    against.add_argument("--qrels", metavar="FILE", help="judgements of the queries: compare nDCG too")
    against.add_argument("-k", type=positive, metavar="N", help="number of best hits that are compared (10)")
    against.add_argument("--tenant", metavar="NAME", help="compare answers within this tenant (all)")
    against.add_argument("--report", metavar="FILE", help="write the certificate as JSON to this file")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    if options.against is not None:
        return _certify(options)
    given = {name: getattr(options, name) for name in ("queries", "sample", "qrels", "k", "tenant", "report")}
    stray = next((name for name, value in given.items() if value is not None), None)
    if stray is not None:
        raise InputError(f"{'-k' if stray == 'k' else f'--{stray}'} requires --against")
    return _verify(options)


def _certify(options: argparse.Namespace) -> int:
    from indexing.corpora.queries import read_qrels, read_queries
    from indexing.permissions import check_output
    from pipelines.deploy.certificate import certify

    if options.repair:
        raise InputError("--repair does not apply to --against, which changes nothing")
    if options.report:
        check_output(options.report)
    sampled = options.queries in (None, "sampled")
    if options.qrels and sampled:
        raise InputError("--qrels requires --queries FILE: sampled queries have no judgements")
    certificate = certify(
        options.directory,
        options.against,
        queries=None if sampled else read_queries(options.queries),
        sampled=options.sample or 100,
        qrels=read_qrels(options.qrels) if options.qrels else None,
        k=options.k or 10,
        tenant=options.tenant,
        dense=options.dense,
        sparse=options.sparse,
    )
    if options.report:
        from indexing.disk import write_json

        write_json(Path(options.report), certificate.as_json)
    print(json_text(certificate.as_json) if options.json else "\n".join(certificate.lines()))
    return 0 if certificate.passed else DAMAGED


def _verify(options: argparse.Namespace) -> int:
    from indexing.collection.verify import repair, verify
    from pipelines.models import collection_encoders

    path = Path(options.directory)
    problems = verify(path)
    repaired = bool(options.repair and problems)
    if not options.json:
        _show(path, problems)
    if repaired:
        needed = any(problem.what == "piece" for problem in problems)
        encoders = collection_encoders(path, dense=options.dense, sparse=options.sparse) if needed else {}
        if not options.json:
            print("repairing …", flush=True)
        found, problems = problems, repair(path, encoders)
        if not options.json:
            _show(path, problems)
    damaged = any(not problem.harmless for problem in problems)
    if options.json:
        report = {"path": str(path), "damaged": damaged, "problems": _listed(problems)}
        print(json_text(report | ({"repaired": _listed(found)} if repaired else {})))
    return DAMAGED if damaged else 0


def _listed(problems: "list[Problem]") -> list[dict[str, Any]]:
    return [{**asdict(problem), "harmless": problem.harmless} for problem in problems]


def _show(path: Path, problems: "list[Problem]") -> None:
    for problem in problems:
        print(f"{'note' if problem.harmless else 'DAMAGE'}: {problem.message}")
    if all(problem.harmless for problem in problems):
        print(f"{path}: no damage" + (" beyond what the next writer repairs by itself" if problems else ""))

"""Pages of the site that are not files of docs/: the start page, the API reference and the navigation.

mkdocs calls `on_config` and `on_files`.
"""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = ("retrieve", "indexing", "pipelines")
GUIDES = {
    "Search": (
        "documents",
        "indexes",
        "collections",
        "search",
        "queries",
        "fusion",
        "reranking",
        "late_interaction",
        "chunking",
    ),
    "Models": ("encoders", "remote", "similar_texts", "training", "migration"),
    "Measure": ("evaluation", "evaluators", "measures", "results"),
    "Run": ("production", "batch-jobs", "serving", "deploy", "scale", "adapters", "ray", "security"),
    "Project": ("architecture", "dependencies"),
}
COMMANDS = "pipelines/commands"
"""The subcommands explain themselves by `--help`; their functions are called by nothing else."""


def on_config(config: Any) -> Any:
    """Set the navigation: the start page, the guides in groups, and the reference."""
    pages = {page.stem for page in DOCS.glob("*.md")}
    grouped = {name for names in GUIDES.values() for name in names}
    guides = GUIDES | {"More": tuple(sorted(pages - grouped))}
    config.nav = [{"Start": "index.md"}]
    for group, names in guides.items():
        if entries := [{_title(name): f"{name}.md"} for name in names if name in pages]:
            config.nav.append({group: entries})
    reference = [{package: [{module: _page(module)} for module in _modules(package)]} for package in PACKAGES]
    config.nav.append({"Reference": reference})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    readme = (ROOT / "README.md").read_text("utf-8").replace("](docs/", "](")
    pages = {"index.md": re.sub(r"\[([^]]*)\]\(docker/[^)]*\)", r"\1", readme)}
    for page in DOCS.glob("*.md"):
        if "](../README.md" in (text := page.read_text("utf-8")):
            pages[page.name] = text.replace("](../README.md", "](index.md")
    for package in PACKAGES:
        pages |= {_page(module): f"# {module}\n\n::: {module}\n" for module in _modules(package)}
    for name, content in pages.items():
        if (written := files.get_file_from_path(name)) is not None:
            files.remove(written)
        files.append(File.generated(config, name, content=content))
    return files


def _modules(package: str) -> list[str]:
    """Return the names of a package's modules that define a public function or class."""
    paths = (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))
    public = (path for path in paths if not path.as_posix().startswith(COMMANDS) and not path.name.startswith("_"))
    return [".".join(path.with_suffix("").parts) for path in public if _defines_something(ROOT / path)]


def _defines_something(path: Path) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text("utf-8")).body
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)


def _page(module: str) -> str:
    return f"reference/{module}.md"


def _title(name: str) -> str:
    return (DOCS / f"{name}.md").read_text("utf-8").partition("\n")[0].lstrip("# ")

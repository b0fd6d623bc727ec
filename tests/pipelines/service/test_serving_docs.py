"""docs/serving.md: its Python examples run, its tables have the defaults and the routes of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from indexing.settings_files import read_yaml
from pipelines.cli import _parser
from pipelines.service.app import endpoints
from pipelines.service.config import Limits, ServeConfig

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_search_example_runs(server, capsys):
    (code,) = (code for code in EXAMPLES if "httpx" in code)

    code = code.replace("http://127.0.0.1:8080", server).replace("collections/docs", "collections/notes")
    exec(compile(code, "", "exec"), {})

    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_langchain_example_runs(server):
    pytest.importorskip("langchain_openai")
    import httpx

    (code,) = (code for code in EXAMPLES if "langchain" in code)
    model = httpx.get(f"{server}/v1/models").json()["data"][0]["id"]
    names = {}
    code = code.replace("http://127.0.0.1:8080", server).replace('model="model"', f'model="{model}"')

    exec(compile(code, "", "exec"), names)

    assert len(names["embeddings"].embed_query("bread")) == 384


def test_the_table_of_limits_has_the_defaults():
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| ([\d,; ]+) \|", PAGE.partition("## Limits")[2], re.MULTILINE)
    stated = {
        name: float(value.replace(",", ""))
        for names, values in rows
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(";"), strict=True)
    }
    assert stated == {field.name: float(field.default) for field in fields(Limits)}


def test_the_example_configuration_is_read(tmp_path):
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "serve.yaml").write_text(text)

    config = ServeConfig.load(tmp_path / "serve.yaml")

    assert config.collections["docs"].path == str(tmp_path / "data/docs")
    assert config.models["reranker"].kind == "cross-encoder"


def test_each_route_is_on_the_page():
    missing = []
    for endpoint in endpoints():
        last = endpoint.path.rsplit("/", 1)[1]
        word = {"{id:path}": "documents/ID", "{name}": "collections", "": "The page at `/`"}.get(last, last)
        if word not in PAGE and not word.startswith("page."):
            missing.append(endpoint.path)
    assert not missing


def test_the_compose_file_names_present_options_and_variables():
    docker = Path(__file__).parents[3] / "docker"
    service = read_yaml(docker / "compose.serve.yaml")["services"]["retrieve"]
    command = [part.replace("${COLLECTION:-collection}", "notes") for part in service["command"]]

    options = _parser().parse_args(command)

    assert (options.directories, options.host, options.keys) == (["/data/notes"], "0.0.0.0", "/data/keys.yaml")
    text = (docker / "compose.serve.yaml").read_text("utf-8")
    used = {*re.findall(r"\$\{(\w+)", text), *(entry for entry in service["environment"] if "=" not in entry)}
    assert used == set(re.findall(r"^#?([A-Z_]+)=", (docker / "serve.env").read_text("utf-8"), re.MULTILINE))

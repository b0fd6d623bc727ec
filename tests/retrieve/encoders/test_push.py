"""Upload of encoders to a stand-in for the Hub's HTTP interface."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from indexing.errors import InputError
from retrieve import DenseEncoder


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does to the creation of a repository and to commits of small files."""

    seen: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            self.seen["created"] = json.loads(body)
            self._answer({"url": f"{self.seen['url']}/me/tiny", "id": "me/tiny", "name": "me/tiny"})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._answer({"files": modes})
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            self.seen["files"] = [line["value"]["path"] for line in lines if line["key"] == "file"]
            self.seen["summary"] = lines[0]["value"]["summary"]
            self._answer({"commitUrl": f"{self.seen['url']}/me/tiny/commit/abc", "commitOid": "abc", "hookOutput": ""})
        else:
            self._answer({}, 404)

    def do_HEAD(self) -> None:
        self._answer({}, 404)

    def do_GET(self) -> None:
        self._answer({}, 404)

    def _answer(self, value: Any, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    url = f"http://127.0.0.1:{server.server_port}"
    Hub.seen = {"url": url}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    yield Hub.seen
    server.shutdown()


def test_an_encoder_is_uploaded_with_its_files(tiny_dense, hub):
    encoder = DenseEncoder(tiny_dense.checkpoint.folder, dtype="float32")
    address = encoder.push_to_hub("me/tiny", token="hf_none", private=True, commit_message="First")
    assert address.endswith("/me/tiny/commit/abc") and hub["summary"] == "First"
    assert hub["created"]["name"] == "tiny" and hub["created"]["organization"] == "me"
    assert {"modules.json", "model.safetensors", "config.json", "tokenizer.json"} <= set(hub["files"])


def test_a_refusal_is_one_line(tiny_dense, hub, monkeypatch):
    monkeypatch.setattr(Hub, "do_POST", lambda self: self._answer({"error": "no"}, 403))
    with pytest.raises(InputError, match=r"^push_to_hub: me/tiny cannot be written .*hf auth login"):
        tiny_dense.push_to_hub("me/tiny", token="hf_none")

"""Requests that schemathesis makes of the OpenAPI document are never answered with a server error.

Skipped where there is no command `schemathesis`, which has requirements that would not fit beside the project's: put it
in an environment of its own, and that environment's bin on PATH.
"""

import re
import shutil
import subprocess

import httpx
import pytest

from pipelines.service.config import ServeConfig
from service_tests import serving

CASES = 2000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_requests_cause_no_server_error(collection, tmp_path, model_entries):
    command = shutil.which("schemathesis")
    if command is None:
        pytest.skip("needs the command schemathesis")
    config = ServeConfig(models=model_entries, writable=True, judge=str(tmp_path / "judged.tsv"))
    with serving(config.with_collections([str(collection)])) as (url, _):
        checks = "not_a_server_error,status_code_conformance"
        options = ["-c", checks, "--max-examples", "80", "--seed", "1", "--continue-on-failure"]
        done = subprocess.run(
            [command, "run", f"{url}/openapi.json", *options], cwd=tmp_path, capture_output=True, text=True, timeout=800
        )
        after = httpx.post(f"{url}/v1/collections/notes/search", json={"query": "bread"}, timeout=60)

    assert done.returncode == 0, done.stdout[-5000:]
    cases = re.search(r"([\d,]+) generated, ([\d,]+) passed", done.stdout)
    assert cases and cases[1] == cases[2] and int(cases[1].replace(",", "")) >= CASES
    assert after.status_code == 200

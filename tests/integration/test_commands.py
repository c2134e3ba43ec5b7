"""What takes a process of its own: the generated document, and a start without the packages for traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from asyncapi.build import document
from sandbox.worker import ROOT
from tests.contract import contract


def test_the_document_is_the_same_in_every_process_and_environment() -> None:
    script = "from asyncapi.build import document; print(document().to_json(), end='')"
    other = {**os.environ, "PYTHONHASHSEED": "7", "RABBITMQ_QUEUE_TYPE": "quorum", "META_API_MAX_RETRIES": "9"}
    made = subprocess.run(  # noqa: S603 - our own interpreter and our own script
        [sys.executable, "-c", script], cwd=ROOT, env=other, capture_output=True, text=True, check=True
    )
    assert made.stdout == document().to_json()


def test_faststreams_own_command_generates_it_without_any_setting(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "faststream"
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    out = tmp_path / "asyncapi.json"
    subprocess.run(  # noqa: S603 - our own interpreter's own script
        [program, "docs", "gen", "stream.app:app", "--out", out],
        cwd=ROOT,
        env=bare,
        capture_output=True,
        check=True,
    )
    assert json.loads(out.read_text(encoding="utf-8")) == contract()


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"TENANT_SERVICE_URL": "http://tenants:3000", **environment}
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=False, timeout=60
    )


HIDDEN = "import sys; sys.modules['opentelemetry'] = None\n"


def test_a_worker_without_an_endpoint_needs_no_opentelemetry_and_imports_no_part_that_traces() -> None:
    code = "import sys, threading, stream.app; stream.app.app; print(*sys.modules, threading.active_count())"
    modules = _run(HIDDEN + code).stdout.split()
    assert "stream.observe.tracing" in modules
    # redis-py and FastStream look for OpenTelemetry by themselves; neither loads these.
    parts = (
        "opentelemetry.sdk.trace",
        "opentelemetry.exporter",
        "faststream.opentelemetry",
        "stream.observe.telemetry",
    )
    assert [name for name in modules if name.startswith(parts)] == []
    assert modules[-1] == "1"


def test_a_worker_does_not_import_the_operators_commands() -> None:
    modules = _run("import sys, stream.app; stream.app.app; print(*sys.modules)").stdout.split()
    assert [name for name in modules if name in {"typer", "stream.operations.cli", "stream.operations.exits"}] == []


def test_an_endpoint_without_the_packages_stops_the_start_with_one_sentence() -> None:
    code = HIDDEN + "import stream.app; stream.app.app"
    stopped = _run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318")
    assert stopped.returncode == 1
    assert stopped.stderr == (
        "whatsapp-stream: OTEL_EXPORTER_OTLP_ENDPOINT: traces need packages that are not installed: "
        "install whatsapp-stream[otel], or unset the variable\n"
    )

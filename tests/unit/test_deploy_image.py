"""The image and the Compose file: pinned, labelled, asked on the worker's own port, limited and restarted."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import __version__
from stream.observe.health import HealthServer
from stream.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DEPLOYMENT = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "deployment.yaml").read_text())


def _instruction(name: str, stage: str = DOCKERFILE) -> str:
    (found,) = re.findall(rf"^{name} +(.*)", stage, re.MULTILINE)
    return str(found)


def _packages(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_steps_without_docker_copy_no_bytecode_which_docker_leaves_out_and_other_processes_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("image_steps", ROOT / ".ci" / "image_steps.py")
    assert spec is not None
    assert spec.loader is not None
    image_steps = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(image_steps)
    tree, source = tmp_path / "tree", tmp_path / "src"
    (tree / "stream" / "__pycache__").mkdir(parents=True)
    (tree / "stream" / "app.py").touch()
    (tree / "stream" / "__pycache__" / "app.cpython-311.pyc.140").symlink_to("renamed-by-now")
    source.mkdir()
    monkeypatch.setattr(image_steps, "ROOT", tree)
    image_steps._copy(source, "stream", "./stream")
    assert [each.name for each in source.rglob("*")] == ["stream", "app.py"]
    assert "**/__pycache__" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_base_is_named_once_and_by_its_digest() -> None:
    images = re.findall(r"^FROM (\S+)(?: AS (\S+))?", DOCKERFILE, re.MULTILINE)
    stages = {stage for _, stage in images}
    (outside,) = [image for image, _ in images if image not in stages]
    assert re.fullmatch(r"python:\d+\.\d+-slim@sha256:[0-9a-f]{64}", outside)
    assert outside.split("@")[0] in _instruction("LABEL")


def test_everything_that_is_installed_has_a_hash_and_a_wheel() -> None:
    downloads = re.findall(r"pip .*?install ([^&\n]*)", DOCKERFILE)
    assert len(downloads) == 3
    for options in downloads:
        assert "--no-index" in options or ("--require-hashes" in options and "--only-binary=:all:" in options)


def test_the_projects_own_wheel_is_built_from_what_its_lock_pins() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert needed["build-system"]["requires"] == needed["dependency-groups"]["build"]
    assert _packages("requirements-build.lock") >= {"hatchling"}
    (wheel,) = re.findall(r"pip wheel ([^&\n]*)", DOCKERFILE)
    assert "--no-index" in wheel
    assert "--no-build-isolation" in wheel


def test_a_change_of_the_code_leaves_what_was_downloaded_as_it_is() -> None:
    before_the_code = DOCKERFILE[: DOCKERFILE.index("COPY stream")]
    assert all(lock in before_the_code for lock in ("-r requirements.lock", "-r requirements-build.lock"))
    assert "ARG" not in before_the_code


def test_every_file_that_the_image_takes_is_let_into_its_context() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for names in copied for name in names.split()} == let_in


def test_the_labels_tell_what_the_package_tells() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', _instruction("LABEL")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["version"] == __version__
    assert (labels["title"], labels["description"]) == (project["name"], project["description"])
    assert labels["licenses"] == project["license"]
    assert (labels["revision"], labels["created"]) == ("$REVISION", "$CREATED")


@asynccontextmanager
async def _listening(alive: Callable[[], bool]) -> AsyncIterator[int]:
    async def nothing() -> Any:
        return b""

    server = HealthServer("127.0.0.1", 0, status=nothing, ready=lambda: True, alive=alive, metrics=nothing)
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


@pytest.mark.parametrize(("alive", "code"), [(True, 0), (False, 1)])
async def test_the_health_check_asks_the_port_that_was_set_and_no_proxy(alive: bool, code: int) -> None:  # noqa: FBT001 - a case of the table
    command = json.loads(_instruction("HEALTHCHECK").split("CMD ", 1)[1])
    async with _listening(lambda: alive) as port:
        environment = {**os.environ, "HTTP_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        assert await _exit_code(command, environment) == code
    assert await _exit_code(command, environment) != 0


def test_the_health_check_asks_the_default_port_when_none_is_set() -> None:
    default = Settings.model_fields["http_port"].default
    assert f"or {default})" in _instruction("HEALTHCHECK")
    assert _instruction("EXPOSE") == str(default)


async def _exit_code(command: list[str], environment: dict[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command[1:], env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


@pytest.mark.parametrize("name", COMPOSE)
def test_a_service_comes_back_by_itself_and_has_a_limit(name: str) -> None:
    service = COMPOSE[name]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]


def test_the_worker_has_the_same_memory_in_compose_and_in_kubernetes() -> None:
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    compose = COMPOSE["worker"]["deploy"]["resources"]["limits"]["memory"]
    assert f"{compose}i" == container["resources"]["limits"]["memory"]


def test_a_full_redis_refuses_writes_before_its_container_reaches_its_limit() -> None:
    command = COMPOSE["redis"]["command"]
    redis_mb = int(command[command.index("--maxmemory") + 1].removesuffix("mb"))
    assert redis_mb <= int(COMPOSE["redis"]["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) / 2


def test_make_base_image_pins_what_the_tag_names_today(tmp_path: Path) -> None:
    digest = "sha256:" + "5" * 64
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho {digest}\n')
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    for name in ("Makefile", "Dockerfile"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        ["make", "base-image"],  # noqa: S607 - the make of whoever runs the tests
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    before, after = (ROOT / "Dockerfile").read_text(), (tmp_path / "Dockerfile").read_text()
    assert after == re.sub(r"sha256:[0-9a-f]{64}", digest, before)
    assert after != before
    assert (tmp_path / "asked").read_text().split()[:4] == ["buildx", "imagetools", "inspect", "python:3.14-slim"]

"""The example of Redis with Sentinels on Kubernetes: valid, and a master that the worker would find."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from stream.redis.address import SENTINEL, Address
from stream.settings.checks import redis_url
from tests.unit.test_deploy_kubernetes import KUBERNETES_VERSIONS

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes" / "redis"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def scripts() -> dict[str, str]:
    found: dict[str, str] = document("configmap.yaml")["data"]
    return found


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_own_schema_accepts_it_strictly(name: str, version: str) -> None:
    assert kubernetes_validate.validate(document(name), version, strict=True) == version


def test_every_manifest_is_in_the_kustomization_except_the_example_secret() -> None:
    listed = document("kustomization.yaml")["resources"]
    assert sorted([*listed, "secret.example.yaml"]) == NAMES


def test_the_workers_url_names_each_pods_sentinel_and_their_master() -> None:
    (url,) = re.findall(r"redis\+sentinel://\S+", (FOLDER / "secret.example.yaml").read_text())
    address = Address.parse(redis_url(SecretStr(url)).get_secret_value())
    spec = document("statefulset.yaml")["spec"]
    pods = tuple((f"redis-{number}.{spec['serviceName']}", 26379) for number in range(spec["replicas"]))
    assert (address.kind, address.hosts) == (SENTINEL, pods)
    assert f"sentinel monitor {address.master} $master 6379 2" in scripts()["sentinel.sh"]
    assert f"get-master-addr-by-name {address.master} " in scripts()["master.sh"]
    assert all(pod.partition(".")[0] in scripts()["master.sh"] for pod, _ in pods)


def test_a_full_redis_forgets_no_message_and_a_crash_hardly_any() -> None:
    lines = scripts()["redis.sh"]
    assert "maxmemory-policy noeviction" in lines
    assert "appendonly yes" in lines


def test_a_master_that_is_cut_off_from_both_replicas_refuses_what_would_be_forgotten() -> None:
    assert "min-replicas-to-write 1" in scripts()["redis.sh"]
    assert document("statefulset.yaml")["spec"]["replicas"] == 3  # when one is lost, the other two go on


def test_what_the_pods_mount_and_ask_for_exists() -> None:
    pod = document("statefulset.yaml")["spec"]["template"]["spec"]
    claims = [each["metadata"]["name"] for each in document("statefulset.yaml")["spec"]["volumeClaimTemplates"]]
    volumes = {each["name"] for each in pod["volumes"]} | set(claims)
    for container in pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert Path(container["command"][1]).name in scripts()
        (password,) = container["env"]
        assert password["valueFrom"]["secretKeyRef"]["key"] in document("secret.example.yaml")["stringData"]


@pytest.mark.parametrize("name", ["master.sh", "redis.sh", "sentinel.sh"])
def test_a_shell_reads_the_scripts(name: str) -> None:
    done = subprocess.run(["/bin/sh", "-n"], input=scripts()[name], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

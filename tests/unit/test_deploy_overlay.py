"""The overlay for one's own values changes what it says and nothing else, by kustomize itself where it is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stream.settings import Settings

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "deploy" / "overlay"
OWN = ROOT / ".tools" / "kubectl"  # `make deploy-check` puts it there
KUBECTL = shutil.which("kubectl") or (str(OWN) if OWN.exists() else None)
CUSTOM = ("keda.sh/", "monitoring.coreos.com/")  # kinds that are not Kubernetes' own

needs_kustomize = pytest.mark.skipif(KUBECTL is None, reason="no kubectl here: make deploy-check brings one")


def _own(name: str) -> Any:
    return yaml.safe_load((OVERLAY / name).read_text())


@cache
def _built(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    assert KUBECTL is not None
    command = [KUBECTL, "kustomize", str(folder)]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the one found above
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(made)}


def _object(kind: str) -> dict[str, Any]:
    return _built(OVERLAY)[kind, "whatsapp-stream"]


def test_every_file_of_the_overlay_is_named_by_it() -> None:
    named = [patch["path"] for patch in _own("kustomization.yaml")["patches"]]
    assert sorted([*named, "kustomization.yaml"]) == sorted(path.name for path in OVERLAY.iterdir())


def test_the_overlay_sets_only_settings_that_exist() -> None:
    assert set(_own("configmap.yaml")["data"]) <= {field.upper() for field in Settings.model_fields}


def test_a_patch_of_the_network_names_a_place_that_the_plain_file_has_and_the_one_that_its_comment_says() -> None:
    # kustomize itself would add what is not there.
    plain = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "networkpolicy.yaml").read_text())
    replaced = [_at(plain, patch["path"]) for patch in _own("networkpolicy.yaml")]
    assert replaced == ["monitoring", {"app.kubernetes.io/name": "redis"}]


@needs_kustomize
def test_the_overlay_holds_every_object_of_the_plain_files_in_its_own_namespace() -> None:
    plain = {**_built(ROOT / "deploy" / "kubernetes"), **_built(ROOT / "deploy" / "kubernetes" / "monitoring")}
    assert set(_built(OVERLAY)) == set(plain)
    namespaces = {each["metadata"]["namespace"] for each in _built(OVERLAY).values()}
    assert namespaces == {_own("kustomization.yaml")["namespace"]}


@needs_kustomize
def test_kubernetes_accepts_what_kustomize_makes_of_it() -> None:
    built_in = [each for each in _built(OVERLAY).values() if not each["apiVersion"].startswith(CUSTOM)]
    assert len(built_in) == 6
    for each in built_in:
        kubernetes_validate.validate(each, "1.33", strict=True)


@needs_kustomize
def test_each_value_of_the_overlay_arrives() -> None:
    (image,) = _own("kustomization.yaml")["images"]
    (container,) = _object("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image['newName']}:{image['newTag']}"
    assert _own("configmap.yaml")["data"].items() <= _object("ConfigMap")["data"].items()
    assert _own("scaledobject.yaml")["spec"].items() <= _object("ScaledObject")["spec"].items()
    for patch in _own("networkpolicy.yaml"):
        assert _at(_object("NetworkPolicy"), patch["path"]) == patch["value"]


@needs_kustomize
def test_the_network_stays_as_closed_as_the_plain_file_has_it() -> None:
    plain = _built(ROOT / "deploy" / "kubernetes")["NetworkPolicy", "whatsapp-stream"]["spec"]
    own = _object("NetworkPolicy")["spec"]
    for way in ("ingress", "egress"):
        assert [rule["ports"] for rule in own[way]] == [rule["ports"] for rule in plain[way]]
    assert own["podSelector"] == plain["podSelector"]


@needs_kustomize
def test_without_keda_the_lines_that_are_commented_out_set_the_replicas(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "kubernetes", tmp_path / "kubernetes")
    shutil.copytree(OVERLAY, tmp_path / "own")
    file = tmp_path / "own" / "kustomization.yaml"
    text = re.sub(r"^  - path: scaledobject.*\n", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(re.sub(r"^# (  (?:- target|  patch|- \{ name)|replicas:)", r"\1", text, flags=re.MULTILINE))
    built = _built(tmp_path / "own")
    assert {kind for kind, _ in built} == {kind for kind, _ in _built(OVERLAY)} - {
        "ScaledObject",
        "TriggerAuthentication",
    }
    assert built["Deployment", "whatsapp-stream"]["spec"]["replicas"] == 3


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer leads to."""
    for step in pointer.removeprefix("/").split("/"):
        document = document[int(step) if isinstance(document, list) else step.replace("~1", "/")]
    return document

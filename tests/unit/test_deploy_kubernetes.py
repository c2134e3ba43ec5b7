"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true to the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator, ValidationError
from yarl import URL

from stream import __version__
from stream.app import STOP_ALLOWANCE_S
from stream.broker.consumers import CANCEL_TIMEOUT_S
from stream.broker.express import FLUSH_S
from stream.contract.lanes import DEFAULT_LANES, lane_names
from stream.contract.queues import INTAKE_QUEUE
from stream.settings import Settings, load_settings
from stream.settings.model import SECRETS
from stream.settings.secret_files import file_variable

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
KEDA = json.loads((Path(__file__).parent / "schemas" / "keda.json").read_text())
KUBERNETES_VERSIONS = ("1.29", "1.33")  # the oldest promised, and a newer one
SETTINGS = {field.upper() for field in Settings.model_fields}
OTLP_PORT = 4318  # OTLP over HTTP, as the worker exports
SPARE_S = 5  # for closing connections after the stop


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield path.name, document


DOCUMENTS = list(_documents())
BUILT_IN = [document for _, document in DOCUMENTS if not document["apiVersion"].startswith("keda.sh/")]
OF_KEDA = [document for _, document in DOCUMENTS if document["apiVersion"].startswith("keda.sh/")]


def _named(documents: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")


def _one(kind: str, name: str = "whatsapp-stream") -> dict[str, Any]:
    (found,) = [each for _, each in DOCUMENTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _one("Deployment")["spec"]["template"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["spec"]["containers"]
    return dict(container)


def _mount(volume: str) -> dict[str, Any]:
    (found,) = [each for each in _container()["volumeMounts"] if each["name"] == volume]
    return dict(found)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@_named(BUILT_IN)
def test_kubernetes_own_schema_accepts_it_strictly(document: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(document, version, strict=True) == version


def test_a_misspelt_field_would_be_found() -> None:
    wrong = json.loads(json.dumps(_one("Deployment")))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 40
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSIONS[0], strict=True)


@_named(OF_KEDA)
def test_kedas_schema_accepts_it(document: dict[str, Any]) -> None:
    Draft202012Validator({"$ref": f"#/$defs/{document['kind']}", "$defs": KEDA["$defs"]}).validate(document)


def test_a_number_where_keda_wants_text_would_be_found() -> None:
    wrong = json.loads(json.dumps(_one("ScaledObject")))
    wrong["spec"]["triggers"][0]["metadata"]["value"] = 200
    with pytest.raises(ValidationError):
        Draft202012Validator({"$ref": "#/$defs/ScaledObject", "$defs": KEDA["$defs"]}).validate(wrong)


def test_every_manifest_is_in_the_kustomization_except_the_example_secret() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "secret.example.yaml"]) == sorted({name for name, _ in DOCUMENTS})


def test_the_kustomization_names_the_image_of_this_version() -> None:
    (image,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]
    assert (image["name"], image["newTag"]) == (_container()["image"], __version__)


def test_only_settings_that_exist_are_set() -> None:
    assert set(_one("ConfigMap")["data"]) <= SETTINGS
    assert {entry["name"] for entry in _container()["env"]} == {file_variable(name.upper()) for name in SECRETS}
    assert not set(_one("Secret")["stringData"]) & set(_one("ConfigMap")["data"])


def test_the_worker_would_take_these_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in _one("ConfigMap")["data"].items():
        monkeypatch.setenv(name, value)
    key = Fernet.generate_key().decode()
    for name, value in _one("Secret")["stringData"].items():
        (tmp_path / name).write_text(key if name in {"CREDENTIAL_CACHE_KEYS", "OPERATOR_TOKEN"} else value)
    mount = _mount("secrets")["mountPath"]
    for entry in _container()["env"]:
        assert entry["value"].startswith(mount + "/")
        monkeypatch.setenv(entry["name"], str(tmp_path / entry["value"].removeprefix(mount + "/")))
    settings = load_settings()
    assert settings.rabbitmq_queue_type == "quorum"
    assert settings.fernet_keys == [key]
    assert settings.rabbitmq_url.get_secret_value() == _one("Secret")["stringData"]["RABBITMQ_URL"]


def test_secrets_come_as_files_and_none_is_in_the_manifests() -> None:
    (volume,) = [each["secret"] for each in _pod()["spec"]["volumes"] if each["name"] == "secrets"]
    assert volume["secretName"] == _one("Secret")["metadata"]["name"]
    assert volume["defaultMode"] == 0o440  # readable by the group of the worker alone
    assert _pod()["spec"]["securityContext"]["fsGroup"] == _pod()["spec"]["securityContext"]["runAsGroup"]
    mount = _mount("secrets")["mountPath"]
    files = {entry["name"].removesuffix("_FILE"): entry["value"] for entry in _container()["env"]}
    assert files == {name: f"{mount}/{name}" for name in _one("Secret")["stringData"]}
    assert set(files) == {name.upper() for name in SECRETS}
    for secret in (each for _, each in DOCUMENTS if each["kind"] == "Secret"):
        assert all("CHANGE-ME" in value for key, value in secret["stringData"].items() if key != "tls")


def test_a_stop_gets_the_time_that_it_takes() -> None:
    grace_s = int(_one("ConfigMap")["data"]["SHUTDOWN_GRACE_MS"]) / 1000
    default_s = Settings.model_fields["shutdown_grace_ms"].default / 1000
    around_s = CANCEL_TIMEOUT_S + FLUSH_S + STOP_ALLOWANCE_S + SPARE_S
    assert _pod()["spec"]["terminationGracePeriodSeconds"] >= max(grace_s, default_s) + around_s


def test_the_probes_ask_the_workers_own_port() -> None:
    container = _container()
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["http_port"].default
    paths = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {kind: get["path"] for kind, get in paths.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {get["port"] for get in paths.values()} == {port["name"]}
    annotations = _pod()["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    (service_port,) = _one("Service")["spec"]["ports"]
    assert (service_port["port"], service_port["targetPort"]) == (port["containerPort"], port["name"])


def test_it_runs_with_no_right_that_it_does_not_need() -> None:
    spec, container = _pod()["spec"], _container()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"USER {spec['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]  # noqa: S108 - for the operator's commands; its size has a limit
    (volume,) = [each["emptyDir"] for each in spec["volumes"] if each["name"] == _mount("tmp")["name"]]
    assert set(volume) == {"sizeLimit"}


def test_every_selector_finds_the_workers_pods() -> None:
    labels = _pod()["metadata"]["labels"].items()
    constraints = _pod()["spec"]["topologySpreadConstraints"]
    selectors = [
        _one("Deployment")["spec"]["selector"]["matchLabels"],
        _one("Service")["spec"]["selector"],
        _one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in constraints),
    ]
    assert len(selectors) == 6
    for selector in selectors:
        assert selector.items() <= labels


def test_the_network_is_closed_but_for_what_is_used() -> None:
    spec = _one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (monitoring,) = spec["ingress"]  # the node's own probes need no rule
    assert [port["port"] for port in monitoring["ports"]] == [8081]
    assert monitoring["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert all(rule["to"] for rule in spec["egress"])
    open_ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    secrets, config = _one("Secret")["stringData"], _one("ConfigMap")["data"]
    urls = [secrets["RABBITMQ_URL"], secrets["REDIS_URL"], config["TENANT_SERVICE_URL"], config["META_API_BASE_URL"]]
    assert {URL(url).port for url in urls} <= open_ports
    assert open_ports == {53, 5671, 5672, 6379, 26379, 3000, 443, OTLP_PORT}


def test_traces_reach_a_collector_in_the_monitoring_namespace() -> None:
    (rule,) = [rule for rule in _one("NetworkPolicy")["spec"]["egress"] if rule["ports"][0]["port"] == OTLP_PORT]
    (collector,) = rule["to"]
    assert collector["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert collector["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "opentelemetry-collector"}


def test_keda_scales_this_deployment_by_the_intake_queue_and_the_lanes() -> None:
    spec = _one("ScaledObject")["spec"]
    trigger, *others = spec["triggers"]
    lanes = lane_names(DEFAULT_LANES)
    assert [each["metadata"].pop("queueName") for each in spec["triggers"]] == [INTAKE_QUEUE, *lanes]
    assert others == [trigger] * len(lanes)
    assert trigger["metadata"]["mode"] == "QueueLength"
    target = _one("Deployment")
    assert spec["scaleTargetRef"] == {
        "apiVersion": target["apiVersion"],
        "kind": target["kind"],
        "name": target["metadata"]["name"],
    }
    assert "replicas" not in target["spec"]
    assert spec["minReplicaCount"] > _one("PodDisruptionBudget")["spec"]["maxUnavailable"]
    authentication = _one("TriggerAuthentication", trigger["authenticationRef"]["name"])
    references = authentication["spec"]["secretTargetRef"]
    (name,) = {reference["name"] for reference in references}
    given = _one("Secret", name)["stringData"]
    assert {reference["parameter"] for reference in references} == {reference["key"] for reference in references}
    assert {reference["key"] for reference in references} == set(given)
    assert URL(given["host"]).path == "/" + trigger["metadata"]["vhostName"]
    assert (URL(given["host"]).scheme, given["tls"]) == ("amqps", "enable")

"""The example for RabbitMQ's cluster operator: valid by its schema, and what the tests of a cluster ran with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from sandbox.network import Place
from sandbox.rabbitmq_cluster import NODES, RabbitMQCluster
from stream.settings import Settings

EXAMPLE = Path(__file__).parent.parent.parent / "deploy" / "kubernetes" / "rabbitmq" / "rabbitmqcluster.yaml"
SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parent / "schemas" / "rabbitmq_cluster_operator.json").read_text())
)
CLUSTER = yaml.safe_load(EXAMPLE.read_text())


def test_the_example_is_valid_and_a_mistyped_field_is_not() -> None:
    SCHEMA.validate(CLUSTER)
    with pytest.raises(ValidationError):
        SCHEMA.validate({**CLUSTER, "spec": {**CLUSTER["spec"], "replica": 3}})


def test_its_nodes_have_the_settings_that_the_tests_ran_with(tmp_path: Path) -> None:
    node = RabbitMQCluster(tmp_path).nodes[0]
    assert node.place == Place()
    tested = {*node._configuration().splitlines()}
    assert CLUSTER["spec"]["replicas"] == NODES
    example = set(CLUSTER["spec"]["rabbitmq"]["additionalConfig"].splitlines())
    assert {line for line in example if not line.startswith("disk_free_limit")} <= tested
    advanced = CLUSTER["spec"]["rabbitmq"]["advancedConfig"]
    (setting,) = re.findall(r"\{dead_letter\w+, \d+\}", advanced)
    assert setting in (tmp_path / "node-1" / "advanced.config").read_text()
    (ticktime,) = re.findall(r"net_ticktime, (\d+)", advanced)
    assert f"net_ticktime {ticktime}" in node._erlang_arguments()


def test_the_url_beside_it_names_every_node_and_is_one_that_the_worker_takes() -> None:
    (url,) = re.findall(r"amqps://\S+", EXAMPLE.read_text())
    assert [f"rabbitmq-server-{number}.rabbitmq-nodes:5671" in url for number in range(NODES)] == [True] * NODES
    Settings(rabbitmq_url=url, tenant_service_url="http://tenants:3000")

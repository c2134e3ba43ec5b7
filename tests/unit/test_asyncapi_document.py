"""The document: made from the running application, complete, checked in as it is made, named for people."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from asyncapi.build import ROOT, document_files
from stream import __version__
from stream.app import create_app
from stream.contract import headers as names
from stream.contract.payload_types import KNOWN_TYPES
from stream.contract.queues import DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, INTAKE_ARGUMENTS, INTAKE_EXCHANGE
from stream.meta.errors import ROWS
from stream.settings import Settings
from tests.contract import REF, contract

CHANNELS = contract()["channels"]
SCHEMAS = contract()["components"]["schemas"]
MESSAGES = contract()["components"]["messages"]


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _amqp(channel: str) -> dict[str, Any]:
    binding: dict[str, Any] = CHANNELS[channel]["bindings"]["amqp"]
    return binding


def test_the_checked_in_document_is_what_the_code_makes() -> None:
    stale = [path.name for path, text in document_files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs` and look at the difference"


def test_yaml_and_json_hold_the_same_document() -> None:
    assert yaml.safe_load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8")) == contract()


def test_every_documented_operation_is_one_of_the_running_application() -> None:
    app = create_app(Settings(tenant_service_url="http://tenants:3000"))
    assert app.broker is not None
    ends: list[Any] = [*app.broker.subscribers, *app.broker.publishers]
    shown = {end.specification.config.title_ for end in ends if end.specification.include_in_schema}
    assert shown == set(MESSAGES)


def test_a_worker_that_runs_loads_neither_the_contracts_texts_nor_what_only_its_libraries_have_a_use_for() -> None:
    unused = ("stream.specification", "httpx._main", "rich", "opentelemetry.sdk")
    program = (
        "import sys; from stream.app import create_app; from stream.settings import Settings\n"
        "create_app(Settings(tenant_service_url='http://tenants:3000'))\n"
        "loaded = [name for name, module in sys.modules.items() if module]\n"
        f"print(*(name for name in loaded if name.startswith({unused})))"
    )
    found = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT.parent)  # noqa: S603 - its own code
    assert found == "\n"


def test_quorum_queues_are_documented_with_their_arguments() -> None:
    settings = Settings(tenant_service_url="http://tenants:3000", rabbitmq_queue_type="quorum")
    app = create_app(settings, documented=True)
    channels = app.schema.to_specification().to_jsonable()["channels"]
    intake, dead = channels["intake"]["bindings"]["amqp"], channels["deadLetters"]["bindings"]["amqp"]
    assert intake["queue"]["arguments"]["x-dead-letter-strategy"] == "at-least-once"
    assert dead["x-queue"]["arguments"] == {"x-queue-type": "quorum"}


def test_info_says_version_licence_and_tags() -> None:
    info = contract()["info"]
    assert (info["version"], info["license"]["name"]) == (__version__, "MIT")
    assert {tag["name"] for tag in info["tags"]} == {"publish", "events", "operations"}


@pytest.mark.parametrize("heading", ["What it promises", "How to publish", "How it retries"])
def test_the_description_tells_a_newcomer(heading: str) -> None:
    assert f"## {heading}\n" in contract()["info"]["description"]


def test_the_retry_table_has_every_error_that_is_retried() -> None:
    table = contract()["info"]["description"].partition("## How it retries")[2]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [row.name for row in ROWS if row.retryable]


@pytest.mark.parametrize(("name", "protocol", "port"), [("rabbitmq", "amqp", "5672"), ("rabbitmqTls", "amqps", "5671")])
def test_a_server_names_vhost_and_port_and_asks_for_a_user_but_names_no_deployment(
    name: str, protocol: str, port: str
) -> None:
    server = contract()["servers"][name]
    assert (server["protocol"], server["variables"]["port"]["default"]) == (protocol, port)
    assert "The vhost is `/whatsapp`; in a URL its slash is written `%2F`." in server["description"]
    assert (server["host"], server["pathname"]) == ("{host}:{port}", "/%2Fwhatsapp")
    assert server["security"] == [{"$ref": "#/components/securitySchemes/userPassword"}]
    assert contract()["components"]["securitySchemes"]["userPassword"]["type"] == "userPassword"


def test_every_channel_is_on_every_server() -> None:
    references = [{"$ref": f"#/servers/{name}"} for name in contract()["servers"]]
    assert [channel["servers"] for channel in CHANNELS.values()] == [references] * len(CHANNELS)


def test_the_four_channels_have_their_routing_keys() -> None:
    assert {name: channel["address"] for name, channel in CHANNELS.items()} == {
        "intake": "outbound.processed.{tenantId}",
        "deadLetters": "outbound.failed",
        "sent": "outbound.sent.{tenantId}",
        "alert": "outbound.alert.{tenantId}",
    }


def test_every_parameter_of_an_address_is_described() -> None:
    for channel in CHANNELS.values():
        assert re.findall(r"{(\w+)}", channel["address"]) == list(channel.get("parameters", {}))


def test_the_intake_shows_the_arguments_that_another_service_must_assert() -> None:
    queue = _amqp("intake")["queue"]
    assert queue["arguments"] == {**INTAKE_ARGUMENTS, "x-queue-type": "classic"}
    assert queue["vhost"] == "/whatsapp"
    assert _amqp("intake")["x-bindings"] == [
        {"exchange": INTAKE_EXCHANGE, "queue": "outbound-processed", "routingKey": "outbound.processed.#"}
    ]


def test_the_dead_letters_show_queue_exchange_and_binding() -> None:
    binding = _amqp("deadLetters")
    assert binding["exchange"]["name"] == DEAD_LETTER_EXCHANGE
    assert binding["x-queue"]["name"] == DEAD_LETTER_QUEUE
    assert binding["x-bindings"][0]["routingKey"] == "outbound.failed"


@pytest.mark.parametrize("channel", ["sent", "alert"])
def test_events_go_to_the_intake_exchange(channel: str) -> None:
    assert _amqp(channel)["exchange"]["name"] == INTAKE_EXCHANGE


def test_messages_have_names_that_people_can_read() -> None:
    assert list(MESSAGES) == ["OutboundMessage", "DeadLetter", "DeliverySent", "DeliveryAlert"]
    keys = [key for node in _nodes(contract()) for key in node]
    assert [key for key in keys if re.search(r":|SubscribeMessage|Payload\d|__", key)] == []


@pytest.mark.parametrize("name", list(MESSAGES))
def test_a_message_is_complete(name: str) -> None:
    message = MESSAGES[name]
    assert message["contentType"] == "application/json"
    assert message["correlationId"]["location"].startswith("$message.payload#/")
    assert len(message["examples"]) >= 2
    assert all(example["name"] and example["summary"] for example in message["examples"])


def test_every_header_that_the_worker_knows_is_described() -> None:
    known = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    described = {name for schema in SCHEMAS.values() for name in schema.get("properties", {})}
    assert known - {names.ORIGINAL_PREFIX} - described == set()


def test_the_union_has_every_routed_type_and_an_open_end() -> None:
    options = [SCHEMAS[option["$ref"].removeprefix(REF)] for option in SCHEMAS["WabaPayload"]["oneOf"]]
    known = [option["properties"]["type"].get("const") for option in options]
    assert set(known) == {*KNOWN_TYPES, None}
    assert SCHEMAS["WabaPayload"]["discriminator"] == "type"
    assert set(SCHEMAS["OtherPayload"]["properties"]["type"]["not"]["enum"]) == set(KNOWN_TYPES)


def test_every_schema_is_described_and_every_reference_leads_somewhere() -> None:
    assert [name for name, schema in SCHEMAS.items() if not schema.get("description")] == []
    wanted = {node["$ref"] for node in _nodes(contract()) if isinstance(node.get("$ref"), str)}
    missing = [ref for ref in wanted if ref.startswith(REF) and ref.removeprefix(REF) not in SCHEMAS]
    assert missing == []


def test_nothing_stands_beside_a_reference_where_it_would_be_ignored() -> None:
    assert [node for node in _nodes(contract()) if isinstance(node.get("$ref"), str) and len(node) > 1] == []


@pytest.mark.parametrize("field", ["firstSeenAt", "sentAt", "processMs", "attempts", "wamid"])
def test_the_fields_of_an_event_say_what_they_hold(field: str) -> None:
    assert SCHEMAS["DeliverySent"]["properties"][field]["description"]

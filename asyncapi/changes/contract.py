"""Breaking changes of a whole document: channels, queues, messages, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asyncapi.changes.schema import Comparison

Node = dict[str, Any]


def breaking_changes(released: Node, current: Node) -> list[str]:
    """Every change that breaks a publisher or a consumer of the released contract, one sentence each."""
    return list(_channels(released, current))


def _channels(released: Node, current: Node) -> Iterator[str]:
    for key, old in released["channels"].items():
        new = current["channels"].get(key)
        if new is None:
            yield _gone(key, old, current)
            continue
        yield from _address(key, old, new)
        yield from _wiring(key, _amqp(old), _amqp(new))
        yield from _messages(key, released, current)


def _gone(key: str, old: Node, current: Node) -> str:
    renamed = [name for name, channel in current["channels"].items() if channel["address"] == old["address"]]
    if renamed:
        return f"Channel {key} was renamed to {renamed[0]}."
    return f"Channel {key} ({old['address']}) was removed."


def _address(key: str, old: Node, new: Node) -> Iterator[str]:
    if old["address"] != new["address"]:
        yield f"Channel {key}: the routing key was {old['address']}, now it is {new['address']}."


def _wiring(key: str, old: Node, new: Node) -> Iterator[str]:
    for kind in ("exchange", "queue"):
        before, after = _thing(old, kind), _thing(new, kind)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"Channel {key}: the {kind}'s {name} was {before.get(name)}, now it is {after.get(name)}."
    if old.get("x-bindings") != new.get("x-bindings"):
        yield f"Channel {key}: the queue's bindings were {old.get('x-bindings')}, now they are {new.get('x-bindings')}."


def _amqp(channel: Node) -> Node:
    return dict(channel["bindings"]["amqp"])


def _thing(binding: Node, kind: str) -> Node:
    """An exchange or a queue with its arguments; empty when the channel has none."""
    thing = {**(binding.get(kind) or binding.get(f"x-{kind}") or {})}
    arguments = thing.pop("arguments", {})
    return {**thing, **arguments}


def _messages(key: str, released: Node, current: Node) -> Iterator[str]:
    before, after = _action(released, key), _action(current, key)
    if before != after:
        yield f"Channel {key}: the worker's action was {before}, now it is {after}."
    for name in released["channels"][key]["messages"]:
        if name not in current["channels"][key]["messages"]:
            yield f"Channel {key}: the message {name} was removed."
            continue
        yield from _message(name, released, current, others_write=before == "receive")


def _message(name: str, released: Node, current: Node, *, others_write: bool) -> Iterator[str]:
    old, new = released["components"]["messages"][name], current["components"]["messages"][name]
    if old["contentType"] != new["contentType"]:
        yield f"{name}: the content type was {old['contentType']}, now it is {new['contentType']}."
    comparison = Comparison(
        released["components"]["schemas"], current["components"]["schemas"], others_write=others_write
    )
    comparison.compare(name, old["payload"], new["payload"])
    if "headers" in old:
        comparison.compare(f"{name} headers", old["headers"], new.get("headers", {}))
    yield from comparison.found


def _action(document: Node, key: str) -> str | None:
    reference = f"#/channels/{key}"
    actions = [one["action"] for one in document["operations"].values() if one["channel"]["$ref"] == reference]
    return actions[0] if actions else None

"""The properties and headers of a message as AMQP's own bytes: split and joined without decoding the values.

A copy of a message must carry every header as it came. Decoding to Python and encoding again changes a 64-bit float to
32 bits and a time in milliseconds to seconds, and fails for text that is not UTF-8. So a copy is made of the bytes that
arrived: a value is only skipped, kept, left out or added.

Source: AMQP 0-9-1, 4.2.5 and 4.2.6, and RabbitMQ's errata for the types of a table's values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pamqp import encode
from pamqp.commands import Basic

# Properties in the order of the wire; the most significant flag belongs to the first.
_FLAGS: Final[Mapping[str, int]] = Basic.Properties.flags
_TYPES: Final[Mapping[str, str]] = {name: str(getattr(Basic.Properties, "_" + name)) for name in _FLAGS}
_LENGTH: Final = struct.Struct(">I")

# How long a table's value is, by its type; the types with a length of their own have it in four bytes.
_FIXED: Final = {
    **dict.fromkeys(b"V\x00", 0),
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    b"D"[0]: 5,
    **dict.fromkeys(b"lLdT", 8),
}
_MEASURED: Final = frozenset(b"SxAF")

Table = dict[bytes, bytes]
"""Header name → type and value, as they stand on the wire."""


class Malformed(ValueError):  # noqa: N818 - it describes the bytes
    """The bytes are not AMQP properties."""


def split(flags: int, data: bytes) -> dict[str, bytes]:
    """Properties by pamqp's names, each as it stands on the wire.

    Raises:
        Malformed: The bytes end too early.
    """
    values, at = {}, 0
    for name, flag in _FLAGS.items():
        if flags & flag:
            end = at + _size(_TYPES[name], data, at)
            values[name], at = data[at:end], end
    return values


def join(values: Mapping[str, bytes]) -> bytes:
    """The flags and the values, as they follow a content header's size on the wire."""
    present = [name for name in _FLAGS if name in values]
    flags = sum(_FLAGS[name] for name in present)
    return struct.pack(">H", flags) + b"".join(values[name] for name in present)


def split_table(data: bytes) -> Table:
    """The headers of a table, without going into tables and lists inside.

    Raises:
        Malformed: It ends too early, or holds a type that RabbitMQ does not know.
    """
    return dict(_entries(data))


def join_table(table: Mapping[bytes, bytes]) -> bytes:
    """A table from its headers."""
    entries = b"".join(bytes([len(name)]) + name + value for name, value in table.items())
    return _LENGTH.pack(len(entries)) + entries


def table_of(headers: Mapping[str, Any]) -> Table:
    """Headers that this worker writes: text, numbers, booleans, tables of them."""
    return split_table(encode.field_table(dict(headers)))


def short_text(value: bytes) -> bytes:
    """The text inside a property that is a short string."""
    return value[1:]


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, end = _LENGTH.size, _size("table", data, 0)
    while at < end:
        name_end = at + 1 + data[at]
        value_end = name_end + 1 + _value_size(data, name_end)
        if value_end > end:
            raise Malformed("a header ends after its table")
        yield data[at + 1 : name_end], data[name_end:value_end]
        at = value_end


def _value_size(data: bytes, at: int) -> int:
    """Bytes that the value of the type at `at` takes, without the type."""
    kind = data[at] if at < len(data) else -1
    if kind in _MEASURED:
        return _size("table", data, at + 1)
    if kind not in _FIXED:
        raise Malformed(f"a header has a type that AMQP does not know: {kind}")
    return _FIXED[kind]


def _size(kind: str, data: bytes, at: int) -> int:
    """Bytes that a value of an AMQP type takes at `at`, its length included."""
    try:
        match kind:
            case "shortstr":
                size = 1 + data[at]
            case "table":
                size = _LENGTH.size + int(_LENGTH.unpack_from(data, at)[0])
            case "timestamp":
                size = 8
            case _:  # "octet"
                size = 1
    except (IndexError, struct.error):
        size = len(data) + 1
    if at + size > len(data):
        raise Malformed(f"a {kind} ends after the message's properties")
    return size

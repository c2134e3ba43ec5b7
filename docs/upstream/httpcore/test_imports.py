"""The import that may fail is tried once, not in each request."""

from __future__ import annotations

import sys

from httpcore import _synchronization


class Looks:
    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        self.names.append(name)


def test_the_async_library_is_known_without_an_import(monkeypatch) -> None:
    looks = Looks()
    monkeypatch.setattr(sys, "meta_path", [looks, *sys.meta_path])
    assert _synchronization.current_async_library() == "asyncio"
    assert looks.names == []

"""YAML for people: texts of several lines as blocks, no aliases, the document's own order."""

from __future__ import annotations

from typing import Any

import yaml


class _Readable(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Readable.add_representer(str, _text)


def to_yaml(content: Any) -> str:
    """The content as YAML."""
    return yaml.dump(content, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=120)

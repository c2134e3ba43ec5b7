"""Write the document, the site, or the release mark: `python -m asyncapi document | site | release`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asyncapi.build import RELEASED, document, document_files, site_files, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what was asked for, and say what changed."""
    parser = argparse.ArgumentParser(prog="python -m asyncapi", description=__doc__)
    parser.add_argument("what", choices=("document", "site", "release"))
    changed = write(_files(parser.parse_args(arguments).what))
    print("\n".join(f"wrote {name}" for name in changed) or "nothing has changed")
    return 0


def _files(what: str) -> dict[Path, str]:
    if what == "document":
        return document_files()
    return site_files() if what == "site" else {RELEASED: document().to_json()}


if __name__ == "__main__":
    sys.exit(main())

"""What is written from the code: the document in two formats, and the site."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from asyncapi.page.page import ASSETS, page
from stream.app import create_app
from stream.contract.queues import QueueKind
from stream.settings import Settings
from stream.specification.document import ContractSpecification, Document

ROOT: Final = Path(__file__).parent
SITE: Final = ROOT / "site"
RELEASED: Final = ROOT / "released.json"
_COPIED: Final = ("style.css", "docs.js", "icon.svg")


def document(queue_type: QueueKind = "classic") -> Document:
    """The document of the application with queues of this type; the environment of this shell has no effect."""
    settings = Settings(
        tenant_service_url="http://tenants:3000",
        rabbitmq_url="amqp://localhost:5672/%2Fwhatsapp",
        rabbitmq_queue_type=queue_type,
    )
    app = create_app(settings, documented=True)
    drawn = app.schema.to_specification()
    if not isinstance(app.schema, ContractSpecification) or not isinstance(drawn, Document):
        raise TypeError("the application does not carry the contract's specification")
    return drawn


def document_files() -> dict[Path, str]:
    """The document, as the files that are checked in."""
    drawn = document()
    return {ROOT / "asyncapi.yaml": drawn.to_yaml(), ROOT / "asyncapi.json": drawn.to_json()}


def site_files() -> dict[Path, str]:
    """The site, as the files that are checked in."""
    drawn = document()
    assets = {SITE / name: (ASSETS / name).read_text(encoding="utf-8") for name in _COPIED}
    return {
        SITE / "index.html": page(drawn.to_jsonable()),
        SITE / "asyncapi.yaml": drawn.to_yaml(),
        **assets,
    }


def write(files: dict[Path, str]) -> list[str]:
    """Write files, and name those that changed."""
    changed = []
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(str(path.relative_to(ROOT.parent)))
    return changed

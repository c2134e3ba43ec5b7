"""The building blocks of interactive messages: headers, bodies, buttons, sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from stream.specification.payloads.media import MediaSource
from stream.specification.payloads.part import Part, Text, Title, same_named

HeaderText = Annotated[str | None, Field(default=None, max_length=60, description="At most 60 characters.")]


class Body(Part):
    """The main text."""

    text: str = Field(min_length=1, max_length=1024, description="1 to 1,024 characters.")


class LongBody(Part):
    """The main text of a list."""

    text: str = Field(min_length=1, max_length=4096, description="1 to 4,096 characters.")


class CardBody(Part):
    """The text of a carousel's card."""

    text: str = Field(min_length=1, max_length=160, description="1 to 160 characters, at most 2 line breaks.")


class Footer(Part):
    """The small text below."""

    text: str = Field(min_length=1, max_length=60, description="1 to 60 characters.")


class Header(Part):
    """A text or a file above the body."""

    model_config = ConfigDict(extra="allow", json_schema_extra=same_named("text", "image", "video", "document"))

    type: Literal["text", "image", "video", "document"]
    text: HeaderText
    image: MediaSource | None = None
    video: MediaSource | None = None
    document: MediaSource | None = None


class TextHeader(Part):
    """A text above the body."""

    type: str = Field(description="`text`.")
    text: str = Field(min_length=1, max_length=60, description="1 to 60 characters.")


class CardHeader(Part):
    """The picture of a carousel's card."""

    model_config = ConfigDict(extra="allow", json_schema_extra=same_named("image", "video"))

    type: Literal["image", "video"]
    image: MediaSource | None = None
    video: MediaSource | None = None


class Reply(Part):
    """What a reply button says, and what comes back when it is tapped."""

    id: str = Field(min_length=1, max_length=256, description="Comes back in the webhook; 1 to 256 characters, unique.")
    title: Title = Field(description="On the button; 1 to 20 characters, unique.")


class ReplyButton(Part):
    """A button that answers."""

    type: Literal["reply"]
    reply: Reply


class ListRow(Part):
    """One choice of a list."""

    id: str = Field(min_length=1, max_length=200, description="Comes back in the webhook; 1 to 200 characters, unique.")
    title: str = Field(min_length=1, max_length=24, description="1 to 24 characters.")
    description: str | None = Field(default=None, max_length=72, description="At most 72 characters.")


class ListSection(Part):
    """A group of choices."""

    title: str | None = Field(
        default=None, max_length=24, description="At most 24 characters; required with more than one section."
    )
    rows: list[ListRow] = Field(min_length=1, max_length=10, description="1 to 10 rows, over all sections together.")


class UrlButton(Part):
    """A button that opens a link."""

    display_text: Title = Field(description="On the button; 1 to 20 characters.")
    url: Text = Field(description="Where it leads.")


class ProductItem(Part):
    """A product of the catalogue."""

    product_retailer_id: Text = Field(description="The product's SKU in the catalogue.")


class ProductSection(Part):
    """A group of products."""

    title: str | None = Field(default=None, max_length=24, description="At most 24 characters.")
    product_items: list[ProductItem] = Field(min_length=1, max_length=30, description="1 to 30 products.")


class Card(Part):
    """One card of a carousel."""

    card_index: int = Field(ge=0, le=9, description="Its place, 0 to 9.")
    type: Literal["cta_url"] = Field(description="Always `cta_url`, also with quick-reply buttons.")
    header: CardHeader
    body: CardBody | None = None
    action: dict[str, Any] = Field(
        description="One URL button (`name: cta_url`, `parameters`) or up to 3 quick replies; alike on every card."
    )

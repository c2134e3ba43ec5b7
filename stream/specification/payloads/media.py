"""Text, media, location and reaction: the plain contents."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from stream.specification.payloads.part import EXACTLY_ONE_MEDIA_SOURCE, Part, Text

Caption = Annotated[
    str | None, Field(default=None, max_length=1024, description="Text below the file; at most 1,024 characters.")
]


class TextContent(Part):
    """The text of a message."""

    body: str = Field(min_length=1, max_length=4096, description="The text; 1 to 4,096 characters.")
    preview_url: bool | None = Field(default=None, description="Show a preview of the first link in the text.")


class MediaSource(Part):
    """A file: uploaded to Meta before (`id`) or fetched by Meta (`link`); exactly one of the two."""

    model_config = ConfigDict(extra="allow", json_schema_extra=EXACTLY_ONE_MEDIA_SOURCE)

    id: Text | None = Field(
        default=None, description="Id of a file that was uploaded to Meta.", examples=["1013859600285441"]
    )
    link: Text | None = Field(
        default=None,
        description="Public http(s) URL that Meta fetches at once; a failure is MEDIA_DOWNLOAD_FAILED.",
        examples=["https://shop.example/images/receipt.png"],
    )


class ImageContent(MediaSource):
    """JPEG or PNG, 8 bits a channel, at most 5 MB. Exactly one of `id` and `link`."""

    caption: Caption


class VideoContent(MediaSource):
    """MP4 or 3GPP with H.264 and AAC, at most 16 MB. Exactly one of `id` and `link`."""

    caption: Caption


class AudioContent(MediaSource):
    """AAC, AMR, MP3, M4A or mono OGG/OPUS, at most 16 MB, never with a caption. Exactly one of `id` and `link`."""

    voice: bool | None = Field(
        default=None, description="Show it as a voice message; needs OGG/OPUS, with a play icon up to 512 KB."
    )


class DocumentContent(MediaSource):
    """Text, PDF or an Office file, at most 100 MB. Exactly one of `id` and `link`."""

    caption: Caption
    filename: Text | None = Field(default=None, description="Name that the recipient sees.")


class StickerContent(MediaSource):
    """WebP: static at most 100 KB, animated at most 500 KB. Exactly one of `id` and `link`."""


# Meta's examples send numbers, its schema says strings: it takes both.
Degrees = Annotated[float | str, Field()]


class LocationContent(Part):
    """A place on the map."""

    latitude: Degrees = Field(
        description="Degrees, -90 to 90; a number, or the number as a string.",
        json_schema_extra={"minimum": -90, "maximum": 90},
    )
    longitude: Degrees = Field(
        description="Degrees, -180 to 180; a number, or the number as a string.",
        json_schema_extra={"minimum": -180, "maximum": 180},
    )
    name: Text | None = Field(default=None, description="What the place is called.")
    address: Text | None = Field(default=None, description="Shown only together with `name`.")


class ReactionContent(Part):
    """An emoji on an earlier message."""

    message_id: Text = Field(description="WAMID of the message to react to.")
    emoji: str | None = Field(default=None, description="One emoji; an empty string takes the reaction back.")

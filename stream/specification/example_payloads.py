"""One real payload for each type, in Meta's documented form, with invented people and numbers kept for fiction."""

from __future__ import annotations

from typing import Any, Final

Payload = dict[str, Any]


def _payload(kind: str, content: Any, **more: Any) -> Payload:
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+16505551234",
        **more,
        "type": kind,
        kind: content,
    }


TEXT: Final = _payload(
    "text", {"body": "Your order 4711 is on its way: https://shop.example/orders/4711", "preview_url": True}
)
TEMPLATE: Final = _payload(
    "template",
    {
        "name": "order_update",
        "language": {"code": "en_US"},
        "components": [
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "text": "Pablo"},
                    {
                        "type": "currency",
                        "currency": {"fallback_value": "$100.99", "code": "USD", "amount_1000": 100990},
                    },
                ],
            },
            {
                "type": "button",
                "sub_type": "quick_reply",
                "index": 0,
                "parameters": [{"type": "payload", "payload": "track-4711"}],
            },
        ],
    },
)
_BUTTONS: Final = {
    "type": "button",
    "header": {"type": "image", "image": {"id": "2762702990552401"}},
    "body": {"text": "Your workshop is tomorrow at 9:00. Does that still suit you?"},
    "footer": {"text": "Lucky Shrub"},
    "action": {
        "buttons": [
            {"type": "reply", "reply": {"id": "keep", "title": "I will be there"}},
            {"type": "reply", "reply": {"id": "change", "title": "Another day"}},
        ]
    },
}
_LIST: Final = {
    "type": "list",
    "body": {"text": "Which shipping option do you prefer?"},
    "action": {
        "button": "Shipping options",
        "sections": [
            {
                "title": "Fast",
                "rows": [{"id": "express", "title": "Express", "description": "1 to 2 days"}],
            },
            {
                "title": "Cheap",
                "rows": [{"id": "ground", "title": "Ground", "description": "2 to 5 days"}],
            },
        ],
    },
}
_CARD: Final = {
    "name": {"formatted_name": "Jane Smith", "first_name": "Jane", "last_name": "Smith"},
    "phones": [{"phone": "+1 (650) 555-1234", "type": "WORK", "wa_id": "16505551234"}],
    "org": {"company": "Lucky Shrub", "title": "Manager"},
}

# Name → what it shows, and the payload.
PAYLOADS: Final[dict[str, tuple[str, Payload]]] = {
    "text": ("A text with a link preview", TEXT),
    "textReply": (
        "A text that answers a message",
        _payload("text", {"body": "Yes, until six."}, context={"message_id": "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQQ=="}),
    ),
    "template": ("A template with values for its body and a button", TEMPLATE),
    "image": (
        "An image by link, with a caption",
        _payload("image", {"link": "https://shop.example/images/4711.png", "caption": "Your order, packed."}),
    ),
    "video": ("A video by link", _payload("video", {"link": "https://shop.example/videos/setup.mp4"})),
    "audio": ("A voice message by id", _payload("audio", {"id": "1013859600285441", "voice": True})),
    "document": (
        "A PDF by id",
        _payload("document", {"id": "1376223850470843", "filename": "invoice-4711.pdf", "caption": "Your invoice."}),
    ),
    "sticker": ("A sticker by id", _payload("sticker", {"id": "798882015472548"})),
    "location": (
        "A place on the map",
        _payload(
            "location",
            {"latitude": 37.4847, "longitude": -122.1473, "name": "Lucky Shrub", "address": "1 Hacker Way, Menlo Park"},
        ),
    ),
    "contacts": ("A contact card", _payload("contacts", [_CARD])),
    "interactiveButtons": ("Two reply buttons below a picture", _payload("interactive", _BUTTONS)),
    "interactiveList": ("A list to choose from", _payload("interactive", _LIST)),
    "reaction": (
        "A reaction to a message",
        _payload("reaction", {"message_id": "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQQ==", "emoji": "👍"}),
    ),
    "typeNotKnownYet": (
        "A type that this release has no model of: forwarded, and Meta judges it",
        _payload(
            "pin",
            {"type": "pin", "message_id": "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQQ==", "expiration_days": 7},
            recipient_type="group",
            to="Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD",
        ),
    ),
}

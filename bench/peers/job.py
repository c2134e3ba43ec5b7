"""What every Python peer does alike: where a message goes, and one log line when it was sent."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, Final

QUEUE: Final = os.environ["RABBITMQ_QUEUE"]
PREFETCH: Final = int(os.environ["RABBITMQ_PREFETCH"])
MESSAGES_URL: Final = os.environ["META_API_BASE_URL"] + "/v26.0/{}/messages"
KEEP_S: Final = 86_400  # a key in Redis

_log = logging.getLogger("peer")
_log.addHandler(logging.StreamHandler(sys.stdout))
_log.setLevel(logging.INFO)
_log.propagate = False  # to the framework's own format


def request_of(content: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The address, the headers and the body of a message's request."""
    metadata = content["metadata"]
    headers = {"Authorization": f"Bearer of-{metadata['tenantId']}"}  # credentials cost the peers nothing
    return MESSAGES_URL.format(metadata["phoneNumberId"]), headers, content["wabaPayload"]


def log_sent(content: dict[str, Any], answer: dict[str, Any]) -> str:
    """Write the line.

    Returns:
        The WAMID.
    """
    metadata, wamid = content["metadata"], str(answer["messages"][0]["id"])
    line = {"event": "delivered", "tenantId": metadata["tenantId"], "internalId": metadata["internalId"]}
    _log.info(json.dumps({**line, "wamid": wamid}))
    return wamid


def key_of(content: dict[str, Any]) -> str:
    """Where a peer with promises writes down that it will send, and that it has sent."""
    return f"peer:{content['metadata']['tenantId']}:{content['metadata']['internalId']}"


def event_of(content: dict[str, Any], wamid: str) -> tuple[str, dict[str, Any]]:
    """The routing key and the body of the event that a message was sent."""
    metadata = content["metadata"]
    return f"outbound.sent.{metadata['tenantId']}", {"internalId": metadata["internalId"], "wamid": wamid}

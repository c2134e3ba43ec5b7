"""The same message again: sent once, recognised, told."""

from __future__ import annotations

import asyncio

from tests.scene import Scene, number, unique


async def test_the_same_message_twice_is_sent_once_and_logged_with_the_first_wamid(scene: Scene) -> None:
    to, internal_id = number(), unique("twice")
    await scene.publish(to, internal_id=internal_id)
    first = await scene.accepted(to)
    await scene.publish(to, internal_id=internal_id)
    line = await scene.logged(scene.workers[0], "duplicate", internalId=internal_id)
    assert line["firstWamid"] == first.wamid
    assert len(scene.taken(to)) == 1
    await scene.settled()


async def test_two_copies_at_the_same_moment_are_sent_once(scene: Scene) -> None:
    to, internal_id = number("999400500"), unique("together")  # the answer takes half a second
    await asyncio.gather(*(scene.publish(to, internal_id=internal_id) for _ in range(3)))
    await scene.logged(scene.workers[0], "waiting_for_other_send", internalId=internal_id)
    await scene.logged(scene.workers[0], "duplicate", internalId=internal_id)
    await scene.settled()
    assert len(scene.taken(to)) == 1


async def test_one_internal_id_with_two_payloads_is_two_messages(scene: Scene) -> None:
    to, internal_id = number(), unique("audio-and-caption")
    audio = {"messaging_product": "whatsapp", "to": to, "type": "audio", "audio": {"id": "1"}}
    caption = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "listen"}}
    for payload in (audio, caption):
        await scene.publish(to, internal_id=internal_id, payload=payload)
    await scene.until(lambda: len(scene.taken(to)) == 2)


async def test_white_space_and_key_order_do_not_make_another_message(scene: Scene) -> None:
    to, internal_id = number(), unique("reformatted")
    head = b'{"metadata": {"tenantId": "acme", "phoneNumberId": "1", "internalId": "%s"}, ' % internal_id.encode()
    first = b'"wabaPayload": {"to": "%s", "type": "text", "text": {"body": "x"}, "messaging_product": "whatsapp"}}'
    other = b'"wabaPayload": {"messaging_product":"whatsapp","type":"text","text":{"body":"x"},"to":"%s"}}'
    await scene.outside.publish(head + first % to.encode(), "acme")
    await scene.accepted(to)
    await scene.outside.publish(head + other % to.encode(), "acme")
    await scene.logged(scene.workers[0], "duplicate", internalId=internal_id)
    assert len(scene.taken(to)) == 1


async def test_an_explicit_resend_is_sent_once_more_and_only_once(scene: Scene) -> None:
    to, internal_id = number(), unique("resend")
    await scene.publish(to, internal_id=internal_id)
    await scene.accepted(to)
    for _ in range(2):
        await scene.publish(to, internal_id=internal_id, headers={"x-resend": "ticket-1"})
    await scene.logged(scene.workers[0], "duplicate", internalId=internal_id)
    assert len(scene.taken(to)) == 2
    line = await scene.logged(scene.workers[0], "delivered", internalId=internal_id, resend="ticket-1")
    assert line["wamid"] != scene.taken(to)[0].wamid

"""Celery and requests with promises like this worker's: a key before and after the send, and a confirmed event.

Settings beyond those of `celery_requests.py`, from Celery's documentation: as many broker connections as threads use
("Optimizing", broker connection pools: `broker_pool_limit`). From Kombu's: publisher confirms ("pyamqp transport":
`confirm_publish`).
"""

from __future__ import annotations

import os
from typing import Any

import redis

from bench.peers.celery_requests import app, post
from bench.peers.job import KEEP_S, PREFETCH, event_of, key_of

app.conf.update(broker_pool_limit=PREFETCH, broker_transport_options={"confirm_publish": True})
keys = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task(name="deliver-once")
def deliver(content: dict[str, Any]) -> None:
    """Take one message that was not taken before."""
    key = key_of(content)
    if not keys.set(key, "sending", nx=True, ex=KEEP_S):
        return
    wamid = post(content)
    keys.set(key, wamid, ex=KEEP_S)
    routing_key, event = event_of(content, wamid)
    with app.producer_or_acquire() as producer:
        producer.publish(event, exchange=os.environ["EVENTS_EXCHANGE"], routing_key=routing_key, delivery_mode=2)

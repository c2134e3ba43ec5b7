"""The dry run: a look that says what a job would replay, and why it would leave the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from stream.operations.dead_letters.copying import ledger_key, resend_of
from stream.operations.dead_letters.edits import edited
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.job import Options
from stream.operations.dead_letters.known import known_of_either
from stream.operations.dead_letters.looking import Seen, look_through
from stream.operations.dead_letters.plan import Skip, left_by_itself, left_by_ledger
from stream.redis.client import Client

MOST_NAMED: Final = 1_000  # letters that were sent before are counted, and so many of them named


@dataclass(slots=True)
class Plan:
    """What a job would do.

    Attributes:
        matched: Letters that the filter takes.
        letters: Ids of those that would be replayed; two letters that are the same have one id.
        skipped: Why the others would not.
        sent_before: Id → WAMID of letters that Meta has.
        groups: The causes of all that matched.
        changes: What the edits change in the first of them: path → before and after, with phone numbers masked.
    """

    matched: int = 0
    letters: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    sent_before: dict[str, str] = field(default_factory=dict)
    groups: Groups = field(default_factory=Groups)
    changes: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        return {
            "matched": self.matched,
            "wouldReplay": len(self.letters),
            "skipped": dict(self.skipped),
            "sentBefore": self.sent_before,
            "changes": self.changes,
            "causes": [
                {"fingerprint": each.example.fingerprint, "errorType": each.example.error_type}
                | {"replay": each.replay, "count": each.count}
                for each in self.groups.all()
            ],
        }


@dataclass(slots=True)
class _Candidate:
    """A letter that matched, until the ledger is asked."""

    id: str
    key: str
    resent: str  # the key of the resend that a job makes of it
    left: Skip | None


async def plan_for(wanted: Filter, options: Options, redis: Client) -> Plan:
    """Look at all letters, and ask the ledger.

    Raises:
        CommandFailed: RabbitMQ or Redis cannot be asked.
        NotAllowed: An edit does not fit a letter.
    """
    plan, candidates = Plan(), []

    def visit(seen: Seen) -> None:
        letter, message = seen.letter, seen.message
        plan.groups.add(letter)
        headers = message.header.properties.headers or {}
        key = ledger_key(message.body, headers)
        left = left_by_itself(letter, options.allowed, is_message=bool(key))
        body, changes = edited(message.body, {} if left else options.edits)  # raises, before anything is sent
        plan.changes = plan.changes or changes
        candidates.append(_Candidate(letter.id, key, ledger_key(body, headers, resend_of(letter.id)), left))

    await look_through(wanted, visit)
    plan.matched = len(candidates)
    found = await known_of_either(redis, [each.key for each in candidates], [each.resent for each in candidates])
    for each, known in zip(candidates, found, strict=True):
        by_ledger = left_by_ledger(known, options.allowed)
        left = by_ledger if by_ledger is Skip.ALREADY_SENT else each.left or by_ledger
        if left is None:
            plan.letters.append(each.id)
            continue
        plan.skipped[left.value] += 1
        if known.wamid is not None and len(plan.sent_before) < MOST_NAMED:
            plan.sent_before[each.id] = known.wamid
    return plan

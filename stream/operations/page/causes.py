"""The causes of dead letters as HTML, each with the command that brings its letters back. Pure."""

from __future__ import annotations

import re
from typing import Final

from stream.contract.replay import Replay
from stream.operations.dead_letters.groups import Group
from stream.operations.page.words import chip, moment, named, shown

MOST_CAUSES: Final = 50
MOST_TENANTS: Final = 5
_OURS: Final = re.compile("[0-9a-f]{16}")  # a publisher's header may be anything, and people copy a command
_KINDS: Final = {Replay.SAFE: "good", Replay.FIX_FIRST: "wait", Replay.IN_DOUBT: "wait", Replay.POINTLESS: "bad"}
_REPLAY: Final = "stream dead-letters replay --fingerprint {} --reason WHY"
# Each shows what it would do; `--yes` does it.
_COMMANDS: Final = {
    Replay.SAFE: ("Once the cause is cured:", _REPLAY),
    Replay.FIX_FIRST: ("Once it is fixed (or with --set in place of --anyway):", _REPLAY + " --anyway"),
    Replay.IN_DOUBT: ("May have been delivered. To send it again nevertheless:", _REPLAY + " --resend-in-doubt"),
    Replay.POINTLESS: (
        "Not worth a replay. To move it into a file:",
        "stream dead-letters discard --fingerprint {} --reason WHY --backup letters.gz",
    ),
}
_NO_COMMAND: Final = "<p>No worker has written its fingerprint: look with <code>stream dead-letters list</code>.</p>"


def causes(groups: list[Group]) -> str:
    """The causes, the most frequent first."""
    left = sum(group.count for group in groups[MOST_CAUSES:])
    more = f"<p>{len(groups) - MOST_CAUSES:,} more causes with {left:,} letters are not shown.</p>" if left else ""
    return "".join(map(_cause, groups[:MOST_CAUSES])) + more


def _cause(group: Group) -> str:
    letter = group.example
    codes = "/".join(str(code) for code in (letter.code, letter.subcode) if code is not None)
    name = " ".join(filter(None, (letter.error_type, codes, letter.template_name)))
    facts = {
        "detail": shown(letter.detail),
        "tenants": _tenants(sorted(group.tenants)),
        "failed": " to ".join(dict.fromkeys(moment(at) for at in (group.first, group.last) if at)),
        "advice": shown(group.advice),
    }
    listed = "".join(f"<dt>{label}</dt><dd>{fact}</dd>" for label, fact in facts.items() if fact)
    kind = chip(f"replay: {group.replay}", _KINDS[Replay(group.replay)])
    return (
        f"<article><header><h3>{group.count:,} x {shown(name)}</h3>{kind}</header>"
        f'<dl class="facts">{listed}</dl>{_command(group)}</article>'
    )


def _command(group: Group) -> str:
    fingerprint = group.example.fingerprint
    if not _OURS.fullmatch(fingerprint):
        return _NO_COMMAND
    when, command = _COMMANDS[Replay(group.replay)]
    words = " ".join(f"<span>{word}</span>" for word in command.format(fingerprint).split())  # no line ends in a word
    return f'<p class="when">{when}</p><pre><code>{words}</code></pre>'


def _tenants(names: list[str]) -> str:
    listed = ", ".join(map(named, names[:MOST_TENANTS]))
    return f"{listed} and {len(names) - MOST_TENANTS:,} more" if len(names) > MOST_TENANTS else listed

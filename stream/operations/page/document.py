"""The page as HTML, drawn on the server: no script, and the style of the contract's site. Pure."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Final

from stream import __version__
from stream.operations.dead_letters.job import Headline, State
from stream.operations.page.causes import causes
from stream.operations.page.overview import Letters, Overview, Snapshot, Trouble
from stream.operations.page.words import age, chip, moment, named, rows, shown, ticked
from stream.traffic.by_hand import Place
from stream.traffic.circuit import Circuit

SITE: Final = "docs/asyncapi"  # whose style and icon it takes
STYLE: Final = """
body { display: block; }
main { margin: 0 auto; max-width: 64rem; }
h2 { margin-top: 2.2rem; }
h3, dd, td, p { overflow-wrap: anywhere; }
.notice { border-left: 3px solid var(--wait); background: var(--wait-soft); padding: .6rem 1rem; max-width: none; }
.when { color: var(--soft); margin: .9rem 0 0; }
pre span { white-space: nowrap; }
.hours { display: block; width: 100%; height: 6rem; border-bottom: 1px solid var(--rule); margin: 1.2rem 0 .4rem; }
.hours rect { fill: var(--accent); }
"""
STYLE_HASH: Final = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_STATES: Final = {State.RUNNING: "wait", State.STOPPED: "bad", State.DONE: "good"}
_BAR: Final = 10  # units of width
_TALLEST: Final = 100  # units of height


def document(snapshot: Snapshot) -> str:
    """The whole page."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dead letters: whatsapp-stream</title>
<link rel="icon" href="{SITE}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{SITE}/style.css">
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>Dead letters</h1>
<p class="lead">What lies on <code>outbound-failed</code>, and why. Looking removes nothing, and this page changes
nothing: its commands are for a shell. Each shows what it would do, and does it with <code>--yes</code>.</p>
<div class="badges"><span class="badge">version {__version__}</span>
<span class="badge">looked at {snapshot.at:%H:%M:%S} UTC</span></div>
</header>
{_letters(snapshot.letters)}
{_trouble(snapshot.trouble)}
</main>
</body>
</html>
"""


def _letters(letters: Letters) -> str:
    overview = letters.overview
    notice = f'<p class="notice">{ticked(letters.sentence)}</p>' if letters.sentence else ""
    groups = overview.groups.all()
    when = _hours(overview) if overview.oldest else ""
    return (
        f'<section id="letters"><h2>{_title(letters)}</h2>{notice}{when}</section>'
        f'<section id="causes"><h2>Causes</h2>{causes(groups) or "<p>None was read.</p>"}</section>'
    )


def _title(letters: Letters) -> str:
    if letters.lying is None:
        return "Letters"
    read = "" if letters.overview.count >= letters.lying else f", {letters.overview.count:,} read"
    return f"{letters.lying:,} letter{'' if letters.lying == 1 else 's'}{read}"


def _hours(overview: Overview) -> str:
    most = max(*overview.hours, 1)
    bars = "".join(
        f'<rect x="{(len(overview.hours) - 1 - ago) * _BAR + 1}" y="{_TALLEST - height}" '
        f'width="{_BAR - 2}" height="{height}"><title>{count:,}, {ago} to {ago + 1} h ago</title></rect>'
        for ago, count in enumerate(overview.hours)
        if (height := count * _TALLEST // most or bool(count))
    )
    counts = {"the last hour": overview.hours[:1], "6 hours": overview.hours[:6], "24 hours": overview.hours}
    failed = ", ".join(f"{sum(hours):,} in {name}" for name, hours in counts.items())
    oldest = f"{age(overview.now - overview.oldest)} old" if overview.oldest else "unknown"
    return (
        f'<svg class="hours" viewBox="0 0 {len(overview.hours) * _BAR} {_TALLEST}" preserveAspectRatio="none" '
        f'role="img" aria-label="Letters that failed in each of the last 24 hours">{bars}</svg>'
        f"<p>Failed: {failed} (a bar an hour, the latest on the right). "
        f'<strong id="oldest">Oldest: {oldest}.</strong></p>'
    )


def _trouble(trouble: Trouble) -> str:
    notice = f'<p class="notice">{ticked(trouble.sentence)}</p>' if trouble.sentence else ""
    return (
        f'{notice}<section id="circuits"><h2>Open circuits</h2>{_circuits(trouble)}</section>'
        f'<section id="jobs"><h2>Jobs</h2>{_jobs(trouble)}</section>'
    )


def _circuits(trouble: Trouble) -> str:
    if not trouble.circuits:
        return "<p>Unknown.</p>" if trouble.sentence else "<p>None: no messages wait for a circuit.</p>"
    head = ("circuit", "state", "reason", "since", "next probe")
    return rows(head, [_circuit(place, circuit) for place, circuit in trouble.circuits])


def _circuit(place: Place, circuit: Circuit) -> tuple[str, ...]:
    state = "open by hand" if circuit.by_hand else circuit.state.replace("_", " ")
    probe = "none" if circuit.by_hand else moment(_at(circuit.ends))
    where = f"{place.scope.replace('_', ' ')} <code>{named(place.name)}</code>"
    return where, chip(state, "bad"), shown(circuit.reason), moment(_at(circuit.since)), probe


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _jobs(trouble: Trouble) -> str:
    if not trouble.jobs:
        return "<p>Unknown.</p>" if trouble.sentence else "<p>None in the last 30 days.</p>"
    head = ("job", "state", "letters", "who", "why")
    return rows(head, [_job(each) for each in trouble.jobs]) + "<p><code>stream jobs show JOB</code> says more.</p>"


def _job(each: Headline) -> tuple[str, ...]:
    because = f" {shown(each.because)}" if each.because else ""
    state = chip(each.state, _STATES[each.state]) + because
    return f"<code>{named(each.job.id)}</code>", state, f"{each.letters:,}", shown(each.job.who), shown(each.job.why)

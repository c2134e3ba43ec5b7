"""`stream dead-letters replay`: send letters again, once, and no more than is good."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import orjson
import typer

from stream.operations.dead_letters.edits import NotAllowed, read_edits
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import Entry, Job, JobStore, Options, Status
from stream.operations.dead_letters.lock import naming_the_holder
from stream.operations.dead_letters.options import filtered
from stream.operations.dead_letters.plan import Permission, Skip
from stream.operations.dead_letters.planning import Plan, plan_for
from stream.operations.dead_letters.printing import print_groups
from stream.operations.dead_letters.running import Ended, run_job
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, printable, say
from stream.operations.redis_link import redis_link


@filtered
def replay(  # noqa: PLR0913 - an argument is an option
    wanted: Filter,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is in the job's record.")],
    yes: Annotated[bool, typer.Option("--yes", help="Replay. Without it, only what would be done is shown.")] = False,
    resend_in_doubt: Annotated[bool, typer.Option("--resend-in-doubt", help="Also what may have arrived.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also what would be refused again.")] = False,
    edits: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Letters a second, after 1, 5, 20 and 100.")] = 50,
    stop_at: Annotated[float, typer.Option(min=0, max=100, help="Stop when more per cent of a step fail.")] = 20,
    patience: Annotated[float, typer.Option(min=1, max=600, help="Seconds a step waits for outcomes.")] = 60,
    as_json: Json = False,
) -> None:
    """Send letters to the intake again: a dry run, and with --yes a job that can be stopped and resumed.

    What Meta has accepted is left out. The letters are those that lie there now; one that fails again comes back as a
    new letter, and is not taken into the same job. Set MESSAGE_MAX_AGE_MS as the worker has it: it ends a validity.
    """
    try:
        changes = read_edits(edits or [])
        options = Options(
            allowed=Permission(in_doubt=resend_in_doubt, anyway=anyway, fixed=bool(changes)),
            edits=changes,
            rate=rate,
            stop_at=stop_at / 100,
            patience_s=patience,
        )
        run(_replay(wanted, options, reason, yes=yes, as_json=as_json))
    except NotAllowed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None


async def _replay(wanted: Filter, options: Options, reason: str, *, yes: bool, as_json: bool) -> None:
    async with redis_link() as link:
        async with naming_the_holder(link.redis):
            plan = await plan_for(wanted, options, link.redis)
        _show(plan, as_json=as_json)
        if not yes:
            return
        job = Job.new(reason, wanted.words(), options, dict(plan.skipped), plan.changes)
        entries = {name: Entry() for name in plan.letters}
        ended = await run_job(job, entries, link.redis, fresh=True)
    finish(job, entries, ended, as_json=as_json)


async def resume(job_id: str, *, as_json: bool) -> None:
    """Go on with a job.

    Raises:
        CommandFailed: There is none of this name.
    """
    async with redis_link() as link:
        if (found := await JobStore(link.redis).find(job_id)) is None:
            raise CommandFailed(f"there is no job {job_id}: see stream jobs list", ExitCode.WRONG_USE)
        entries: dict[str, Entry] = {}
        ended = await run_job(found.job, entries, link.redis, fresh=False)
    finish(found.job, entries, ended, as_json=as_json)


def finish(job: Job, entries: dict[str, Entry], ended: Ended, *, as_json: bool) -> None:
    """Print what became of a job's letters.

    Raises:
        CommandFailed: It stopped before its end.
    """
    facts = outcome(job, Counter(entry.status for entry in entries.values()), ended.because)
    text = (
        f"job {job.id}: {facts['replayed']} replayed, {facts['delivered']} delivered, {facts['waiting']} waiting, "
        f"{facts['failedAgain']} failed again, {facts['alreadySent']} sent before, {facts['gone']} gone, "
        f"{facts['left']} left"
    )
    say(text, facts, as_json=as_json)
    if ended.because:
        raise CommandFailed(f"{ended.because}; go on with: stream jobs resume {job.id}", ended.code)


def outcome(job: Job, counts: Counter[Status], stopped: str) -> dict[str, Any]:
    """The object that scripts get in the end."""
    skipped = dict(job.skipped)
    sent_before = skipped.pop(Skip.ALREADY_SENT.value, 0) + counts[Status.ALREADY_SENT]
    for status in (Status.IN_DOUBT, Status.EXPIRED, Status.NO_COPY):
        if counts[status]:
            skipped[status.value] = skipped.get(status.value, 0) + counts[status]
    return {
        "job": job.id,
        "replayed": counts[Status.REPLAYED] + counts[Status.DELIVERED] + counts[Status.FAILED],
        "delivered": counts[Status.DELIVERED],
        "waiting": counts[Status.REPLAYED],
        "failedAgain": counts[Status.FAILED],
        "alreadySent": sent_before,
        "skipped": skipped,
        "gone": counts[Status.GONE],
        "left": counts[Status.PENDING] + counts[Status.PUBLISHING],
        "stopped": bool(stopped),
        "stoppedBecause": stopped or None,
    }


def _show(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(plan.to_json()).decode())
        return
    print_groups(plan.groups.all())
    typer.echo(f"{plan.matched} letters match, {len(plan.letters)} would be replayed")
    for why, count in plan.skipped.items():
        typer.echo(f"  {count} left: {why}")
    for path, (before, after) in plan.changes.items():
        typer.echo(printable(f"  {path}: {before} -> {after}"))
    for name, wamid in plan.sent_before.items():
        typer.echo(f"  {name} was sent before: {wamid}")

"""`stream jobs`: what was replayed, by whom and why, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from stream.operations.dead_letters import replay
from stream.operations.dead_letters.job import JobStore, Recorded
from stream.operations.dead_letters.running import stop_job
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, printable, say
from stream.operations.redis_link import redis_link

app = typer.Typer(help="Jobs that replay dead letters.")

Name = Annotated[str, typer.Argument(metavar="JOB", help="As `stream jobs list` names it.")]


@app.command(name="list", epilog="Example: stream jobs list")
def list_(*, as_json: Json = False) -> None:
    """List the jobs of the last 30 days, the newest first."""
    for found in run(_all()):
        counts = ", ".join(f"{count} {status}" for status, count in found.counts.items())
        say(
            f"{found.job.id}  {found.state}  {found.job.who}  {found.job.why}: {counts}",
            found.to_json(),
            as_json=as_json,
        )


@app.command(epilog="Example: stream jobs show 20261128-091500-4f2a")
def show(job: Name, *, as_json: Json = False) -> None:
    """Show one job."""
    facts = run(_find(job)).to_json()
    changes = {path: " -> ".join(values) for path, values in facts["changes"].items()}
    text = "\n".join(f"{name:<14} {_in_words(value)}" for name, value in {**facts, "changes": changes}.items())
    say(printable(text), facts, as_json=as_json)


@app.command(epilog="Example: stream jobs resume 20261128-091500-4f2a")
def resume(job: Name, *, as_json: Json = False) -> None:
    """Go on with a job that was stopped or interrupted: none is lost, none is sent twice."""
    run(replay.resume(job, as_json=as_json))


@app.command(epilog="Example: stream jobs stop 20261128-091500-4f2a")
def stop(job: Name, *, as_json: Json = False) -> None:
    """Stop a job that runs, wherever it runs, after the letters that are on their way."""
    runs = run(_stop(job))
    say(f"asked job {job} to stop" if runs else f"nobody runs job {job}", {"job": job}, as_json=as_json)


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}: {each}" for name, each in value.items()]
    return (", ".join(value) if isinstance(value, list) else str(value or "")) or "-"


async def _all() -> list[Recorded]:
    async with redis_link() as link:
        return await JobStore(link.redis).all()


async def _find(job_id: str) -> Recorded:
    async with redis_link() as link:
        if (found := await JobStore(link.redis).find(job_id)) is None:
            raise CommandFailed(f"there is no job {job_id}: see stream jobs list", ExitCode.WRONG_USE)
        return found


async def _stop(job_id: str) -> bool:
    await _find(job_id)
    async with redis_link() as link:
        return await stop_job(job_id, link.redis)

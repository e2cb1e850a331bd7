"""Check what the server talks to, and what it runs: registry, nodes, clock, model."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp

from voxgender.doctor.finding import Finding, failed, ok, warning
from voxgender.errors import NotReady, VoxgenderError
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.fleet.registry import Registry, RegistryLost
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.settings import ModelOptions

if TYPE_CHECKING:
    from voxgender.engine import Engine

_MAX_OFFSET_S = 5.0
_WORST_OFFSET_S = 60.0
"""Signatures between signaling and nodes are good for so long."""
_SHORT_SECRET = 16
_MAX_SHARE = 0.5
"""Share of a core from which one call is a lot."""


def secret(text: str) -> Finding:
    """Check the secret that signaling and media nodes share."""
    check = "secret"
    if not text:
        return failed(
            check, "there is none", "give all processes the same one: VOXGENDER_SECRET=$(openssl rand -hex 32)"
        )
    if len(text) < _SHORT_SECRET:
        return warning(check, f"it has only {len(text)} characters", "openssl rand -hex 32 makes a good one")
    return ok(check, "there is one")


async def registry(url: str, shared: Secret) -> AsyncIterator[Finding]:
    """Check that Redis can be reached, written to and read, and compare its clock with this machine's."""
    check = "registry"
    store = Registry(url, shared)
    try:
        server_time_s, cluster = await store.probe()
        nodes = await store.read()
    except RegistryLost as error:
        yield failed(check, str(error), "docs/operations.md says which Redis is served, and which commands it needs")
        return
    finally:
        await store.close()
    mode = "in cluster mode, " if cluster else ""
    yield ok(check, f"it can be written and read, {mode}and knows {len(nodes)} media nodes of this secret")
    yield clock("the registry's", server_time_s)


async def nodes(urls: Sequence[str], shared: Secret) -> AsyncIterator[Finding]:
    """Ask listed media nodes for their records, as signaling does."""
    for url in urls:
        check = f"node {url}"
        node = RemoteNode(url, shared)
        try:
            record = await node.record()
        except Unreachable as error:
            yield failed(check, str(error), "look whether it runs, and at the firewall between")
        except NoAnswer as error:
            yield failed(check, str(error), "it needs the same VOXGENDER_SECRET, clock and version")
        except NotReady as error:
            yield warning(check, str(error), "ask again in a moment")
        else:
            yield ok(check, f"it answers, and has {record.sessions} of {record.capacity} calls")
        finally:
            await node.close()


async def clock_by_http(url: str) -> Finding:
    """Compare this machine's clock with the ``Date`` of an HTTP server."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as http, http.head(url) as response:
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError, TypeError):
        return warning("clock", "there is nothing that answers to compare it with", "let it be set by NTP")
    return clock("an HTTP server's", date)


def clock(whose: str, other_s: float) -> Finding:
    """Compare this machine's clock with another one."""
    offset_s = abs(time.time() - other_s)
    advice = "let both be set by NTP: tokens, TURN logins and signatures of the fleet go by time"
    found = f"it differs by {offset_s:.1f} s from {whose}"
    if offset_s >= _WORST_OFFSET_S:
        return failed("clock", found, advice)
    return warning("clock", found, advice) if offset_s >= _MAX_OFFSET_S else ok("clock", found)


def model(options: ModelOptions) -> Iterator[Finding]:
    """Load the model and let it hear the built-in voices. Takes seconds, so call it in a thread."""
    check = "model"
    try:
        from voxgender.engine.loading import OFF
        from voxgender.roles.serve import make_engine
    except ImportError:
        yield warning(
            check, "this installation has no media parts", "pip install 'voxgender[media]', where calls are taken"
        )
        return
    began = time.monotonic()
    try:
        engine = make_engine(options)
    except VoxgenderError as error:
        yield failed(check, str(error), "look at --inference" if options.pool else "look at --model")
        return
    yield ok(check, f"{engine.model} was loaded in {time.monotonic() - began:.1f} s")
    try:
        if options.model != OFF:
            yield from _hearing(engine)
    finally:
        engine.close()


def _hearing(engine: "Engine") -> Iterator[Finding]:
    from voxgender.audio.frames import Wave
    from voxgender.peer.voices import MAN, WOMAN, speak

    check, seconds = "model", 3.0
    labels: dict[str, str] = {}
    cpu_s = 0.0
    for speaker, who in ((MAN, "man"), (WOMAN, "woman")):
        voice = Wave(speak(speaker, seconds))
        began = time.process_time()
        state = engine.new_state()
        state.is_whole = True
        engine.process({state: [*state.place([voice]), *state.cut(exact=True), *state.finish()]})
        cpu_s += time.process_time() - began
        label, _ = state.overall() or ("no speech", 0.0)
        labels[who] = label
    share = cpu_s / (2 * seconds)
    if labels == {"man": "male", "woman": "female"}:
        yield ok(check, "it hears the built-in man as male and the woman as female")
    else:
        yield warning(
            check,
            f"it hears the built-in man as {labels['man']} and the woman as {labels['woman']}",
            "they are synthetic; try voxgender classify with recordings",
        )
    if share > _MAX_SHARE:
        yield warning(
            check, f"one call takes {share:.0%} of a core", "use a smaller model, a larger --hop-ms, or a GPU"
        )
    else:
        yield ok(check, f"one call takes {share:.1%} of a core")

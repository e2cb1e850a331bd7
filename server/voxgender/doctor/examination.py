"""Run all checks that a role's options call for, one after another."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path

from voxgender.doctor import machine, services
from voxgender.doctor.finding import Finding, failed, warning
from voxgender.errors import SettingsError, VoxgenderError
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import StaticNodes, source_of
from voxgender.http.auth import Authenticator
from voxgender.http.cors import cors_middleware
from voxgender.http.iceservers import IceServers
from voxgender.http.proxies import Proxies
from voxgender.settings import DoctorSettings

logger = logging.getLogger(__name__)

_MEDIA_PARTS = "pip install 'voxgender[media]'"


async def examine(settings: DoctorSettings) -> AsyncIterator[Finding]:
    """Yield what is found of a machine and of the options of one role, check by check."""
    for name, roles, check in _CHECKS:
        if settings.role not in roles:
            continue
        try:
            async for finding in check(settings):
                yield finding
        except SettingsError as error:
            yield failed(name, str(error), "see voxgender doctor --help")
        except ModuleNotFoundError:
            yield warning(name, "this needs parts that are not installed", _MEDIA_PARTS)
        except Exception as error:
            logger.debug("the check failed", exc_info=error)
            yield failed(name, f"the check itself failed ({type(error).__name__})", "report it with this line")


async def _tcp(settings: DoctorSettings) -> AsyncIterator[Finding]:
    yield await asyncio.to_thread(machine.tcp_port, "HTTP port", settings.http.host, settings.http.port, "--port")
    if settings.metrics.host_and_port is not None:
        host, port = settings.metrics.host_and_port
        yield await asyncio.to_thread(machine.tcp_port, "metrics port", host, port, "--metrics-address")


async def _front(settings: DoctorSettings) -> AsyncIterator[Finding]:
    # Each raises SettingsError for what it cannot use.
    cors_middleware(settings.origins.allow_origin)
    Proxies(settings.proxies)
    Authenticator(settings.auth)
    asks = settings.auth.token or settings.auth.jwt_secret or settings.auth.jwt_keys
    if not asks and settings.http.host not in ("127.0.0.1", "::1", "localhost"):
        yield warning("tokens", "everybody who reaches the port may call", "set VOXGENDER_TOKEN or --jwt-keys")


async def _media(settings: DoctorSettings) -> AsyncIterator[Finding]:
    from voxgender.doctor import addresses
    from voxgender.media.localaddresses import default_addresses, local_addresses
    from voxgender.roles.publicaddress import public_addresses

    media = settings.media
    local = local_addresses(media.ice_address) or default_addresses()
    advertised = await public_addresses(media.advertise_address)
    yield addresses.candidates(local, advertised)
    for finding in await asyncio.to_thread(
        lambda: list(machine.udp_ports(local, media.udp_port_range, media.max_sessions))
    ):
        yield finding
    for server in IceServers(settings.ice_servers.ice_server, turn_secret=settings.ice_servers.turn_secret).servers:
        if server.scheme == "stun":
            async for finding in addresses.seen_by_stun(server, local, advertised):
                yield finding


async def _ice_servers(settings: DoctorSettings) -> AsyncIterator[Finding]:
    from voxgender.doctor import addresses

    options = settings.ice_servers
    ice_servers = IceServers(options.ice_server, turn_secret=options.turn_secret, turn_ttl_s=options.turn_ttl_s)
    relays = [server for server in ice_servers.servers if server.is_relay]
    for server in relays:
        username, credential = ice_servers.login(server, "doctor")
        yield await addresses.turn_login(server, username, credential)
    if not relays:
        yield warning(
            "TURN", "there is no TURN server", "callers behind firewalls that stop UDP need one: --ice-server"
        )


async def _fleet(settings: DoctorSettings) -> AsyncIterator[Finding]:
    fleet = settings.fleet
    yield services.secret(fleet.secret)
    if not fleet.secret:
        return
    shared = Secret(fleet.secret)
    if settings.role == "signaling":
        source = source_of(fleet.registry, settings.node_list.nodes, shared)
        if isinstance(source, StaticNodes):
            async for finding in services.nodes((await source.read()).urls, shared):
                yield finding
        await source.close()
    if fleet.registry:
        async for finding in services.registry(fleet.registry, shared):
            yield finding


async def _clock(settings: DoctorSettings) -> AsyncIterator[Finding]:
    if settings.role != "serve" and settings.fleet.registry:
        # It was compared with the registry's.
        return
    urls = [url for url in (settings.auth.jwt_keys, *settings.node_list.nodes) if url.startswith("http")]
    if urls:
        yield await services.clock_by_http(urls[0])


async def _machine(settings: DoctorSettings) -> AsyncIterator[Finding]:
    files = {"--jwt-keys": settings.auth.jwt_keys} if settings.auth.jwt_keys else {}
    files = {option: path for option, path in files.items() if not path.startswith("http")}
    folders: dict[str, Path] = {}
    takes_calls = settings.role != "signaling"
    if takes_calls and settings.model.model not in ("embedded", "off"):
        from voxgender.inference.graphcache import cache_folder

        try:
            folders["converted models"] = cache_folder()
        except OSError as error:
            yield warning("permissions", f"converted models are not kept: {error}", "set XDG_CACHE_HOME")
    if settings.role == "serve" and settings.processes.workers > 1:
        folders["workers' sockets"] = Path(tempfile.gettempdir())
    for finding in _all_of(machine.permissions(files, folders)):
        yield finding
    yield machine.descriptors(settings.media.max_sessions if takes_calls else 0)
    if takes_calls:
        yield machine.socket_buffer()


async def _model(settings: DoctorSettings) -> AsyncIterator[Finding]:
    for finding in await asyncio.to_thread(lambda: _all_of(services.model(settings.model))):
        yield finding


def _all_of(findings: Iterator[Finding]) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(findings)
    except VoxgenderError as error:
        found.append(failed("options", str(error), "see voxgender doctor --help"))
    return found


_CHECKS: Sequence[tuple[str, Collection[str], Callable[[DoctorSettings], AsyncIterator[Finding]]]] = (
    ("ports", ("serve", "signaling", "media"), _tcp),
    ("options", ("serve", "signaling"), _front),
    ("addresses", ("serve", "media"), _media),
    ("ICE servers", ("serve", "signaling"), _ice_servers),
    ("fleet", ("signaling", "media"), _fleet),
    ("clock", ("serve", "signaling", "media"), _clock),
    ("permissions", ("serve", "signaling", "media"), _machine),
    ("model", ("serve", "media"), _model),
)
"""Each check with its name and the roles that it concerns, in order."""

"""Check the machine: ports, descriptors, buffers, permissions."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from voxgender.doctor.finding import Finding, failed, ok, warning

_DESCRIPTORS = 64
"""Descriptors of a process without calls: libraries, sockets, pipes."""
_DESCRIPTORS_A_CALL = 3
"""A connection of its client, one of a reader of events, and a share of the media sockets."""
_WANTED_BUFFER = 1024 * 1024
_CALLS_A_PORT = 32


def tcp_port(check: str, host: str, port: int, option: str) -> Finding:
    """Check that a TCP port can be listened on, or that voxgender listens there already."""
    where = f"{host} port {port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except PermissionError:
        return failed(check, f"{where} may not be listened on", f"choose one above 1023 with {option}")
    except OSError as error:
        if _is_voxgender(host, port):
            return ok(check, f"voxgender listens on {where} already")
        return failed(check, f"{where} cannot be listened on ({error.strerror})", f"choose another with {option}")
    return ok(check, f"{where} is free")


def udp_ports(addresses: tuple[str, ...], ports: tuple[int, int] | None, calls: int) -> Iterator[Finding]:
    """Check that UDP ports for media can be bound, and that there are enough of them."""
    check = "UDP ports"
    for address in addresses:
        if ports is None:
            reason = _bind_udp(address, 0)
            yield (
                ok(check, f"the system gives ports of {address}")
                if reason is None
                else failed(check, f"no port of {address} can be bound ({reason})", "look at --ice-address")
            )
            continue
        low, high = ports
        taken = [port for port in range(low, high + 1) if _bind_udp(address, port) is not None]
        free = high - low + 1 - len(taken)
        if not free:
            yield failed(check, f"no port of {address} from {low} to {high} is free", "choose others with --udp-ports")
        elif free * _CALLS_A_PORT < calls:
            yield warning(
                check,
                f"{free} free ports of {address} hold {free * _CALLS_A_PORT} calls, --max-sessions is {calls}",
                "widen --udp-ports",
            )
        elif taken:
            yield ok(check, f"{free} of {high - low + 1} ports of {address} are free")
        else:
            yield ok(check, f"all of {low} to {high} of {address} are free: open them in the firewall")


def descriptors(calls: int) -> Finding:
    """Check that the process may open as many files and sockets as its calls need."""
    check = "descriptors"
    try:
        import resource
    except ImportError:
        return ok(check, "this system has no such limit")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS + _DESCRIPTORS_A_CALL * calls
    if limit != resource.RLIM_INFINITY and limit < needed:
        return warning(
            check,
            f"{limit} may be open, and {calls} calls need about {needed}",
            f"raise the limit (ulimit -n {needed}, LimitNOFILE={needed}), or lower --max-sessions",
        )
    return ok(check, f"{limit} may be open, {needed} are needed")


def socket_buffer() -> Finding:
    """Check that the kernel gives media sockets a buffer that outlasts a pause of the process."""
    check = "socket buffers"
    from voxgender.media.sockets import enlarge_buffer

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        enlarge_buffer(probe)
        size = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if size < _WANTED_BUFFER:
        return warning(
            check,
            f"the kernel gives media sockets {size // 1024} KiB, and packets are lost when the process is held up",
            "sysctl -w net.core.rmem_max=4194304",
        )
    return ok(check, f"the kernel gives media sockets {size // 1024} KiB")


def permissions(files: dict[str, str], folders: dict[str, Path]) -> Iterator[Finding]:
    """Check the user, files that have to be read, and folders that are written to.

    Args:
        files: path of each by its option.
        folders: each by its purpose.
    """
    check = "permissions"
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield warning(check, "this runs as root", "run the server as a user of its own")
    for option, path in files.items():
        if not os.access(path, os.R_OK):
            yield failed(check, f"the file of {option} cannot be read", "look at its owner and mode")
        elif Path(path).stat().st_mode & 0o022:
            yield warning(check, f"others may write the file of {option}", "chmod go-w, because it decides who gets in")
        else:
            yield ok(check, f"the file of {option} can be read")
    for purpose, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield failed(check, f"{folder}, for {purpose}, cannot be written to ({error.strerror})", "change its owner")
        else:
            yield ok(check, f"{folder}, for {purpose}, can be written to")


def _bind_udp(address: str, port: int) -> str | None:
    """Bind a port for a moment; return why that cannot be done."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _is_voxgender(host: str, port: int) -> bool:
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    url = f"http://{f'[{own}]' if ':' in own else own}:{port}/health/live"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=2.0) as response:
            return b'"live"' in response.read(100)
    except (URLError, OSError, ValueError):
        return False

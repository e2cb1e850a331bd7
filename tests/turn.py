"""A real TURN server, coturn, on this machine."""

import asyncio
import datetime
import ipaddress
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.hosts.conftest import free_ports

LOOPBACK = "127.0.0.1"
SECRET = "north"
TRANSPORTS = ("udp", "tcp", "tls")


class Coturn:
    """Takes logins made from ``SECRET``, over UDP, TCP and TLS."""

    def __init__(self, directory: Path, address: str = LOOPBACK) -> None:
        self.address = address
        self.port, self.tls_port = free_ports(address, 2)
        self.certificate = directory / "certificate.pem"
        """Self-signed: whoever trusts it has to be told."""
        self._key = directory / "key.pem"
        self._directory = directory
        self.log = ""

    def uri(self, transport: str) -> str:
        if transport == "tls":
            return f"turns:{self.address}:{self.tls_port}?transport=tcp"
        return f"turn:{self.address}:{self.port}?transport={transport}"

    def command(self) -> list[str]:
        _sign_oneself(self.certificate, self._key, self.address)
        files = {"--cert": self.certificate, "--pkey": self._key}
        options = {
            "--listening-ip": self.address,
            "--relay-ip": self.address,
            "--listening-port": self.port,
            "--tls-listening-port": self.tls_port,
            "--static-auth-secret": SECRET,
            "--realm": "voxgender",
            "--log-file": "stdout",
            "--pidfile": self._directory / "turnserver.pid",
            "--userdb": self._directory / "turndb",
            "--relay-threads": 1,
            **files,
        }
        flags = ["-n", "--use-auth-secret", "--allow-loopback-peers", "--no-cli", "--no-dtls", "--verbose"]
        return ["turnserver", *flags, *(f"{name}={value}" for name, value in options.items())]


@asynccontextmanager
async def a_turn_server(directory: Path, address: str = LOOPBACK) -> AsyncIterator[Coturn]:
    """Run coturn at an address of this machine; what it had to say is in ``log`` afterwards."""
    if shutil.which("turnserver") is None:
        pytest.skip("coturn is not installed: tools/system-packages tests does that")
    coturn = Coturn(directory, address)
    process = await asyncio.create_subprocess_exec(
        *coturn.command(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said: list[str] = []
    ready = asyncio.Event()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode(errors="replace"))
            if f"TLS/TCP listener opened on : {address}:{coturn.tls_port}" in said[-1]:
                ready.set()
        ready.set()

    reading = asyncio.create_task(read())
    try:
        await asyncio.wait_for(ready.wait(), 10)
        assert not reading.done(), "".join(said)
        yield coturn
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await reading
        await process.communicate()
        coturn.log = "".join(said)


def _sign_oneself(certificate: Path, private_key: Path, address: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a TURN server under test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    private_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

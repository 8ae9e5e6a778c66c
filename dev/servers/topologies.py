"""Redis as operators run it: with TLS, on a UNIX socket, Sentinel, a Cluster.

Each needs redis-server on the PATH (Debian: apt-get install redis-server).
"""

import datetime as dt
import ipaddress
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from servers.redis import free_port, server, wait_for_port

SLOTS = 16384
SETTLE_TIMEOUT = 20.0


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A private CA and a certificate for 127.0.0.1: CA, certificate, key."""
    now = dt.datetime.now(dt.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def write(path: Path, certificate: x509.Certificate) -> Path:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def signed(
        subject: str, key: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> x509.Certificate:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(
                x509.BasicConstraints(ca=ca, path_length=None), critical=True
            )
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(authority, hashes.SHA256())
        )

    authority = ec.generate_private_key(ec.SECP256R1())
    own = ec.generate_private_key(ec.SECP256R1())
    key = folder / "server.key"
    key.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return (
        write(folder / "ca.crt", signed("test authority", authority, ca=True)),
        write(folder / "server.crt", signed("127.0.0.1", own, ca=False)),
        key,
    )


@contextmanager
def tls(folder: Path, *, clients: bool = False) -> Iterator[str]:
    """A server that accepts TLS only; with ``clients`` it requires a certificate."""
    ca, certificate, key = certificates(folder)
    port = free_port()
    options = {
        "--tls-port": port,
        "--tls-cert-file": certificate,
        "--tls-key-file": key,
        "--tls-ca-cert-file": ca,
        "--tls-auth-clients": "yes" if clients else "no",
    }
    with server(*(str(part) for pair in options.items() for part in pair)):
        wait_for_port(port)
        own = f"&certfile={certificate}&keyfile={key}" if clients else ""
        yield f"rediss://127.0.0.1:{port}?ca_certs={ca}{own}"


@contextmanager
def unix(folder: Path) -> Iterator[str]:
    """A server on a UNIX socket."""
    path = folder / "redis.sock"
    with server("--unixsocket", str(path)):
        yield f"unix://{path}"


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A master, a replica and a Sentinel; the URL and the master's process."""
    with ExitStack() as stack:
        master, process = stack.enter_context(server())
        port = master.rpartition(":")[2]
        stack.enter_context(server("--replicaof", f"127.0.0.1 {port}"))
        own = free_port()
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"port {own}\nbind 127.0.0.1\n"
            f"sentinel monitor mymaster 127.0.0.1 {port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        watcher = subprocess.Popen(
            ["redis-server", str(settings), "--sentinel"], stdout=subprocess.DEVNULL
        )
        try:
            wait_for_port(own)
            client = redis.Redis(port=own, decode_responses=True)
            _until(partial(_has_replica, client))
            client.close()
            yield f"redis+sentinel://127.0.0.1:{own}/mymaster", process
        finally:
            watcher.kill()
            watcher.wait()


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[str]:
    """A Cluster of masters."""
    with ExitStack() as stack:
        ports = []
        for number in range(size):
            home = folder / str(number)
            home.mkdir()
            # The bus's default port is this one plus 10,000, which may be too high.
            bus = free_port()
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
            url, _ = stack.enter_context(server(*options, "--dir", str(home)))
            ports.append((int(url.rpartition(":")[2]), bus))
        nodes = [redis.Redis(port=port, decode_responses=True) for port, _ in ports]
        for number, node in enumerate(nodes):
            first, last = number * SLOTS // size, (number + 1) * SLOTS // size - 1
            node.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER MEET", "127.0.0.1", *ports[0])
        for node in nodes:
            _until(partial(_knows, node, size))
            node.close()
        places = ",".join(f"127.0.0.1:{port}" for port, _ in ports)
        yield f"redis+cluster://{places}"


def move_slots(url: str, count: int) -> None:
    """Move the first slots of a Cluster's first node to its second, with their keys."""
    ports = [int(place.rpartition(":")[2]) for place in url.split(",")]
    source, target = (
        redis.Redis(port=port, decode_responses=True) for port in ports[:2]
    )
    here, there = (str(node.cluster("MYID")) for node in (source, target))
    for slot in range(count):
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here)
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there)
        keys = source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
        if keys:
            source.execute_command(
                "MIGRATE", "127.0.0.1", ports[1], "", 0, 1000, "KEYS", *keys
            )
        for node in (target, source):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", there)
    for node in (source, target):
        node.close()


def _knows(node: Any, size: int) -> bool:
    """Whether a node has met all others and reports the state ok."""
    return node.cluster("INFO")["cluster_state"] == "ok" and (
        len(node.cluster("NODES")) == size
    )


def _has_replica(client: Any) -> bool:
    return client.sentinel_master("mymaster")["num-slaves"] == 1


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the servers did not get ready in time")
        time.sleep(0.05)

"""A real RabbitMQ on loopback (Debian: apt-get install rabbitmq-server)."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.programs import find, listens, running
from servers.redis import free_port


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """The URL of a broker with its data in ``folder``."""
    amqp, between, names = free_port(), free_port(), free_port()
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    (folder / "enabled_plugins").write_text("[].")
    (folder / "empty").write_text("")
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{amqp}\n")
    own = {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "empty"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_NODENAME": f"tests{amqp}@localhost",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(between),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2"
        ),
    }

    def speaks() -> bool:
        # An open port is not enough: the broker replies only after it has started.
        try:
            with socket.create_connection(("127.0.0.1", amqp), 1) as broker:
                broker.settimeout(2)
                broker.sendall(b"AMQP\0\0\x09\x01")
                return broker.recv(1) == b"\x01"
        except OSError:
            return False

    # A name server of this test: one that RabbitMQ starts would not end with it.
    with (
        running(
            *(find("epmd"), "-port", str(names), "-address", "127.0.0.1"),
            ready=lambda: listens(names),
        ),
        running(
            # Not the program on the PATH, which changes the user and needs that user's
            # folders.
            "/usr/lib/rabbitmq/bin/rabbitmq-server",
            env=own,
            ready=speaks,
            within=90,
            log=folder / "rabbitmq.log",
        ),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{amqp}//"

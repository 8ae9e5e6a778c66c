"""A real nginx, run by an ordinary user (Debian: apt-get install nginx-light)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from servers.programs import find, listens, running
from servers.redis import free_port

_AROUND = """
daemon off; pid {folder}/pid; worker_processes 1; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; }}
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include conf.d/*.conf;
}}
"""


@contextmanager
def nginx(folder: Path, files: Mapping[str, str], listen: str) -> Iterator[str]:
    """The server's URL; ``listen`` becomes a free port; the files lie beside nginx.conf."""
    port = free_port()
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(listen, f"listen 127.0.0.1:{port};"))
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder))

    with running(
        *(find("nginx"), "-e", "stderr", "-p", str(folder)),
        *("-c", str(folder / "nginx.conf")),
        ready=lambda: listens(port),
        log=folder / "nginx.log",
    ):
        yield f"http://127.0.0.1:{port}"

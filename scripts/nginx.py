"""The real nginx in a folder of its own, with docs/operating/nginx.conf as it stands there.

Only the four values that an operator sets are set; nothing outside of the folder is read or written
but the publication directory.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SITE: Final = Path(__file__).resolve().parents[1] / "docs" / "operating" / "nginx.conf"
HOST: Final = "127.0.0.1"
MISSING: Final = "install nginx (Debian: apt-get install nginx)"
START_S: Final = 20.0

_MAIN: Final = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 10000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def find_nginx() -> str | None:
    """Return the path of the program, which Debian keeps where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def fill_site(port: int, publish: Path, service: str = "") -> str:
    """Return the configuration with an operator's values; `service` is host and port."""
    text = SITE.read_text(encoding="utf-8")
    for given, own in (
        ("default /var/lib/waypost/publish;", f"default {publish};"),
        ('$waypost_service { default ""; }', f'$waypost_service {{ default "{service}"; }}'),
        ("listen 127.0.0.1:8080;", f"listen {HOST}:{port};"),
    ):
        if text.count(given) != 1:
            raise ValueError(f"{SITE} has {given!r} {text.count(given)} times")
        text = text.replace(given, own)
    return text


class Nginx:
    """A running nginx with one worker."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def worker(self) -> int:
        """Process id of its worker."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return int(Path(path).read_text(encoding="ascii").split()[0])


@contextmanager
def run_nginx(folder: Path, publish: Path, service: str = "") -> Iterator[Nginx]:
    """Serve a publication directory for the time of a block; `folder` holds what it writes."""
    program = find_nginx()
    if program is None:
        raise FileNotFoundError(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    port = _find_port()
    # who starts it may read the files; only root would change to another user
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user), encoding="utf-8")
    (folder / "site.conf").write_text(fill_site(port, publish, service), encoding="utf-8")
    process = subprocess.Popen(
        [program, "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    )
    try:
        _wait_until_listening(process, port, folder / "error.log")
        yield Nginx(process, port)
    finally:
        process.terminate()
        process.wait()


def _find_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    said = errors.read_text(encoding="utf-8") if errors.exists() else "nothing"
    raise RuntimeError(f"nginx does not listen; it said: {said}")

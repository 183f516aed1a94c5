"""What `waypost doctor` sees of a machine by itself: the program, its homes, what runs on them."""

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.errors import WaypostError
from registry.cli.findings import Finding, bad, doubt, ok

if TYPE_CHECKING:
    from registry.agent.settings import AgentSettings
    from registry.settings import Settings

OLDEST: Final = (3, 11)
NEWEST: Final = (3, 14)
"""Versions of Python that this program was tried with."""

LIBRARIES: Final = (
    "msgspec", "nacl", "bech32", "mnemonic", "httpx2", "typer", "pydantic_settings", "structlog",
)  # fmt: skip
"""What every part of the program needs."""

GIB: Final = 2**30
DISK_BAD: Final = GIB
DISK_DOUBT: Final = 5 * GIB
"""Free bytes below which a ledger soon cannot be written, or will not be some day."""

CONNECT_S: Final = 2.0


@dataclass
class Machine:
    """Where to look."""

    home: Path
    agent_home: Path
    settings: "Settings | None"
    """Of the service whose home it is; None if there is none."""
    agent: "AgentSettings | None"
    problems: list[Finding]
    """Why settings cannot be read."""
    urls: list[str]
    nodes: list[str]
    """Addresses."""
    genesis_path: Path | None
    genesis: bytes | None
    does_probe: bool


def find_machine(
    home: Path | None,
    agent_home: Path | None,
    urls: Sequence[str],
    nodes: Sequence[bytes],
    genesis: Path | None,
    does_probe: bool,
) -> Machine:
    """Return where to look: what was named, else what the settings of the homes say."""
    from registry.addresses import encode_node
    from registry.agent import settings as agent_settings
    from registry.home import GENESIS, default_genesis, default_home
    from registry.settings import CONFIG, BadSettings, load_settings

    folder = home or default_home()
    own_folder = agent_home or folder / agent_settings.FOLDER
    service = agent = None
    problems: list[Finding] = []
    try:
        if (folder / CONFIG).exists() or (folder / "ledger").exists():
            service = load_settings(folder, {})
    except BadSettings as error:
        problems.append(bad("settings", str(error), "mend the file or the variable"))
    try:
        if (own_folder / agent_settings.CONFIG).exists():
            agent = agent_settings.load_settings(own_folder, {})
    except BadSettings as error:
        problems.append(bad("settings", str(error), "mend the file or the variable"))
    known = [folder / GENESIS, default_genesis(folder)]
    known += [agent.genesis_path] if agent is not None else []
    path = genesis or next((each for each in known if each.exists()), None)
    return Machine(
        home=folder,
        agent_home=own_folder,
        settings=service,
        agent=agent,
        problems=problems,
        urls=list(urls) or _find_urls(service, agent),
        nodes=[encode_node(key) for key in nodes] or _find_nodes(agent),
        genesis_path=path,
        genesis=None if path is None or not path.exists() else path.read_bytes(),
        does_probe=does_probe,
    )


def _find_urls(service: "Settings | None", agent: "AgentSettings | None") -> list[str]:
    from registry.cli.http import DEFAULT_URL

    if agent is not None:
        return list(agent.services)
    if service is not None and service.web and service.port:
        return [f"http://{_spell_host(service.host)}:{service.port}"]
    return [DEFAULT_URL]


def _spell_host(host: str) -> str:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{here}]" if ":" in here else here


def _find_nodes(agent: "AgentSettings | None") -> list[str]:
    from registry.keystore import BadKeyFile, describe_file

    if agent is None:
        return []
    try:
        return [describe_file(agent.node)[0]["node"]]
    except BadKeyFile:
        return []  # said among the key files


# --- the program --------------------------------------------------------------------------------


def check_python(_machine: Machine) -> list[Finding]:
    """Python is one that this program was tried with."""
    now = sys.version_info[:2]
    text = ".".join(map(str, sys.version_info[:3]))
    if now < OLDEST:
        return [bad("python", text, f"use {'.'.join(map(str, OLDEST))} or newer")]
    if now > NEWEST:
        return [doubt("python", f"{text} is newer than what this was tried with", "watch out")]
    return [ok("python", text)]


def check_programs(machine: Machine) -> list[Finding]:
    """Every library is there, and the database where a ledger is kept."""
    from importlib.util import find_spec

    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        text = f"missing: {', '.join(missing)}"
        return [bad("programs", text, "install it again, with its locked dependencies")]
    has_database = any(find_spec(name) for name in ("plyvel", "plyvel_next"))
    if has_database:
        return [ok("programs", "all libraries, and the database")]
    text = "no database: there is none for this system"
    if machine.settings is not None:
        return [bad("programs", text, "run the service on Linux (x86-64)")]
    return [doubt("programs", text, "commands and the agent work without; a service does not")]


def check_disk(machine: Machine) -> list[Finding]:
    """The file systems of the homes have room."""
    import shutil

    findings = []
    for folder in dict.fromkeys((machine.home, machine.agent_home)):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        text = f"{free // GIB} GiB free for {folder}"
        if free < DISK_BAD:
            findings.append(bad("disk", text, "make room: a ledger that cannot be written stops"))
        elif free < DISK_DOUBT:
            findings.append(doubt("disk", text, "make room before it is used up"))
        else:
            findings.append(ok("disk", text))
    return findings


# --- the files of the homes ---------------------------------------------------------------------


def check_settings(machine: Machine) -> list[Finding]:
    """Settings can be read, and a home has its genesis file."""
    if machine.problems:
        return machine.problems
    findings = []
    if machine.settings is not None:
        path = machine.settings.genesis_path
        if path.exists():
            findings.append(ok("settings", f"of a service in {machine.home}"))
        else:
            findings.append(bad("settings", f"there is no {path}", "waypost init makes a home"))
    if machine.agent is not None:
        findings.append(ok("settings", f"of an agent in {machine.agent_home}"))
    return findings or [ok("settings", f"neither a service's in {machine.home} nor an agent's")]


def check_key_files(machine: Machine) -> list[Finding]:
    """Key files and passphrases are there, for their user alone, and not in the clear."""
    from registry.keystore import BadKeyFile, describe_file

    findings = []
    for path in _list_key_files(machine):
        try:
            _, is_insecure = describe_file(path)
        except BadKeyFile as error:
            findings.append(bad("key files", str(error), "mend it, or name another one"))
            continue
        if is_insecure:
            text = f"{path} holds its seed in the clear"
            findings.append(doubt("key files", text, f"waypost keys passphrase {path}"))
        else:
            findings.append(ok("key files", f"{path}: encrypted, for its user alone"))
    for path in _list_passphrases(machine):
        if not path.exists():
            findings.append(bad("key files", f"there is no {path}", "make it, or take it out"))
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            findings.append(bad("key files", f"{path} can be read by others", f"chmod 600 {path}"))
    return findings or [ok("key files", "no settings name any")]


def _list_key_files(machine: Machine) -> list[Path]:
    named = [] if machine.settings is None else machine.settings.key_files
    return list(
        dict.fromkeys([*named, *([] if machine.agent is None else machine.agent.key_files)])
    )


def _list_passphrases(machine: Machine) -> list[Path]:
    told = (machine.settings, machine.agent)
    paths = [each.passphrase_file for each in told if each is not None]
    return [path for path in dict.fromkeys(paths) if path is not None]


def check_watermarks(machine: Machine) -> list[Finding]:
    """What keys signed is noted, for their user alone, and certain."""
    findings = []
    for folder in _list_watermarks(machine):
        if folder.exists():
            findings += _look_at_watermarks(machine, folder)
    return findings or [ok("watermarks", "nothing was signed on this machine yet")]


def _list_watermarks(machine: Machine) -> Iterable[Path]:
    return [each.watermark_path for each in (machine.settings, machine.agent) if each is not None]


def _look_at_watermarks(machine: Machine, folder: Path) -> list[Finding]:
    from ledger.crypto import sha256
    from registry.watermarks import list_watermarks

    for path in (folder, *sorted(folder.iterdir())):
        if stat.S_IMODE(path.stat().st_mode) & 0o022:
            text = f"{path} can be changed by others"
            return [bad("watermarks", text, f"chmod -R go= {folder}")]
    if machine.genesis is None:
        return [doubt("watermarks", f"{folder}: of which network?", "name --genesis FILE")]
    try:
        rows = list(list_watermarks(folder, sha256(machine.genesis)))
    except WaypostError as error:
        todo = "never take it away: the key may sign what contradicts it. See docs/operating"
        return [bad("watermarks", str(error), todo)]
    restored = [str(path) for path, held in rows if held.restored]
    if restored:
        text = f"out of a backup: {', '.join(restored)}"
        todo = "the key waits until nothing can contradict what it may have signed since"
        return [doubt("watermarks", text, todo)]
    return [ok("watermarks", f"{len(rows)} in {folder}")]


# --- what runs ----------------------------------------------------------------------------------


def check_processes(machine: Machine) -> list[Finding]:
    """The processes of the service answer on their sockets."""
    settings = machine.settings
    if settings is None:
        return [ok("processes", "no service on this machine")]
    todo = f"start it: waypost run --home {settings.home}"
    findings = []
    if _is_answered_on(settings.ledger_socket):
        findings.append(ok("processes", "the ledger process runs"))
    else:
        findings.append(bad("processes", "the ledger process does not run", todo))
    if settings.web and settings.port:
        place = f"{settings.host} port {settings.port}"
        if _is_open(settings.host, settings.port):
            findings.append(ok("processes", f"the web process listens on {place}"))
        else:
            findings.append(bad("processes", f"nothing listens on {place}", todo))
    return findings


def _is_answered_on(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(CONNECT_S)
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


def _is_open(host: str, port: int) -> bool:
    import socket

    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((here, port), CONNECT_S).close()
    except OSError:
        return False
    return True


def check_cometbft(machine: Machine) -> list[Finding]:
    """A validator, or a node beside validators, has the right CometBFT."""
    from registry.cometbft.version import NoCometbft, find_program, read_version

    settings = machine.settings
    if settings is None or settings.engine != "comet":
        return [ok("cometbft", "not needed")]
    try:
        path = find_program(settings.cometbft)
    except NoCometbft as error:
        return [bad("cometbft", str(error), "scripts/install_cometbft")]
    return [ok("cometbft", f"{path}, version {read_version(path)}")]


def is_locked(folder: Path) -> bool:
    """Whether a process holds the watermarks in a folder, as every one that signs does."""
    import fcntl

    from registry.watermarks import LOCK

    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

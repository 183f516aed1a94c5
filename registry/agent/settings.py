"""What an agent is told: flags over environment over `agent.toml` in its home.

A variable is `WAYPOST_AGENT_` and the name in capitals; unknown names are refused.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.errors import Fault
from ledger.messages.contact import Version
from ledger.messages.genesis import MAX_GENESIS_BYTES
from registry.client.cache import read_bounded
from registry.files import write_durably
from registry.home import GENESIS, LISTS, WATERMARKS, default_home
from registry.settings import BadSettings, load

CONFIG: Final = "agent.toml"
PREFIX: Final = "WAYPOST_AGENT_"
FOLDER: Final = "agent"
STATUS: Final = "status.json"
"""Names in a home: of the settings, of an agent's home in it, and of what the agent tells."""

VersionText: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\d{1,3}\.\d{1,3}\.\d{1,3}$")]
"""`MAJOR.MINOR.PATCH`, each up to 255."""

Url: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\"\\]+$")]


class AgentSettings(BaseSettings):
    """Everything that `waypost agent` may be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path
    """Folder of this agent: settings, verified lists, watermarks, what it tells."""
    node: Path
    """Key file of the service node."""
    duty: Path | None = None
    """Key file whose duty key signs, once it was changed; that of the node by default."""
    genesis: Path | None = None
    """Genesis file of the network; the one in the home by default."""
    services: tuple[Url, ...] = Field(default=("http://127.0.0.1:8420",), min_length=1)
    """Services to ask and to send to, none of which is believed."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase of the key files; without it a person is asked."""
    agree: int = Field(default=0, ge=0)
    """Past the trust period: go on if so many services serve the same header; 0 refuses."""

    # ---- the node's contact data; what is left out stays as the ledger has it ----

    ipv4: IPv4Address | None = None
    """IPv4 address of the node."""
    ipv6: IPv6Address | None = None
    """IPv6 address of the node."""
    storage_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of its storage server over TCP, and of this agent over UDP."""
    router_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of its router over TCP."""
    storage_version: VersionText | None = None
    """Version of its storage server."""
    router_version: VersionText | None = None
    """Version of its router."""
    bind: tuple[IPv4Address | IPv6Address, ...] = ()
    """Addresses on which challenges are answered; by default every address of the machine of the
    kinds that the contact data has, or a loopback address where it has one."""

    # ---- testing others ----

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Prefixes outside of which nobody is probed; by default what is not routed in public."""
    required_storage_version: VersionText = "0.0.0"
    """Version of the storage server below which a node counts as outdated."""
    required_router_version: VersionText = "0.0.0"
    """Version of the router below which a node counts as outdated."""

    # ---- what runs beside it ----

    check_in_s: float = Field(default=3600.0, ge=1)
    """Seconds between two check-ins."""
    expects_pings: bool = False
    """Whether a storage server is to ping this agent over OxenMQ, and its silence is a fault."""
    oxenmq: tuple[str, ...] = ()
    """Addresses on which OxenMQ is spoken to storage servers and routers; none by default."""

    @property
    def key_files(self) -> list[Path]:
        """The key files that are opened, each once."""
        return [self.node] if self.duty in (None, self.node) else [self.node, Path(str(self.duty))]

    @property
    def genesis_path(self) -> Path:
        """The genesis file."""
        return self.genesis or self.home / GENESIS

    @property
    def watermark_path(self) -> Path:
        """Folder of the watermarks: never part of a backup that is put back."""
        return self.home / WATERMARKS

    @property
    def votes_path(self) -> Path:
        """Folder of the votes that were decided."""
        return self.home / "votes"

    @property
    def lists_path(self) -> Path:
        """Folder of the verified lists."""
        return self.home / LISTS

    @property
    def status_path(self) -> Path:
        """What the agent tells its operator."""
        return self.home / STATUS

    def read_genesis(self) -> bytes:
        """Return the bytes of the genesis file. Raises a `Fault` where there is none."""
        try:
            return read_bounded(self.genesis_path, MAX_GENESIS_BYTES)
        except OSError:
            raise Fault(
                f"there is no genesis file {self.genesis_path}: name it with --genesis"
            ) from None


def default_agent_home() -> Path:
    """Return the home of an agent: the folder `agent` in the home of this machine's programs."""
    return default_home() / FOLDER


def load_settings(home: Path, flags: dict[str, Any]) -> AgentSettings:
    """Return the settings of a home; `flags` that are None were not given. Raises `BadSettings`."""
    return load(AgentSettings, home, CONFIG, flags, other_variables=("HOME",))


def parse_version(text: str) -> Version:
    """Return `MAJOR.MINOR.PATCH` as a version. Raises `BadSettings`."""
    numbers = [int(part) for part in text.split(".")]
    if max(numbers) > 255:
        raise BadSettings(f"version {text}: no number in it is above 255")
    return Version(*numbers)


def write_settings(home: Path, flags: dict[str, Any]) -> Path | None:
    """Write what flags say as the settings of a home that has none; return the file.

    A genesis file is copied there, unless there is one. None, and nothing is written, where there
    are settings already.
    """
    path = home / CONFIG
    if path.exists():
        return None
    genesis: Path | None = flags.get("genesis")
    if genesis is not None and not (home / GENESIS).exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(home / GENESIS, read_bounded(genesis, MAX_GENESIS_BYTES))
        flags = flags | {"genesis": None}
    lines = [f"{name} = {_write(value)}\n" for name, value in flags.items() if value is not None]
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, "".join(lines).encode(), mode=0o600)
    return path


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_write(each) for each in value)}]"
    # of a basic string of TOML these two are escaped, and no flag has a control character
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'

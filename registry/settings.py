"""What a service is told: flags over environment over one TOML file; unknown keys are refused.

The file is `config.toml` in the home; a variable is `WAYPOST_` and the name in capitals.
"""

import os
import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ledger.errors import Fault, WaypostError
from registry.home import GENESIS, WATERMARKS

CONFIG: Final = "config.toml"
PREFIX: Final = "WAYPOST_"
ABCI_SOCKET: Final = "abci.sock"
RPC_SOCKET: Final = "cometbft.sock"
"""Names of sockets in `run`."""

OTHER_VARIABLES: Final = ("HOME", "URL", "NO_SKIP", "REGENERATE")
"""Names behind the prefix that are not settings of a service."""

OTHER_PROGRAMS: Final = ("AGENT_", "WARN_")
"""What the names of settings of other programs begin with, behind the same prefix."""

S = TypeVar("S", bound=BaseSettings)


Peer: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}@[^\s@,\"\\]+:\d{1,5}$")]
"""`ID@HOST:PORT` of another CometBFT, as `waypost init` prints it."""

Address: TypeAlias = Annotated[str, StringConstraints(pattern=r"^([^\s@,\"\\]+:\d{1,5})?$")]
"""`HOST:PORT`, or nothing."""

RpcUrl: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s,\"\\]+$")]
"""Where a CometBFT answers questions over HTTP."""


class BadSettings(WaypostError):
    """A setting is unknown or out of range; the message names it and where it came from."""


class ClientLimits(BaseModel):
    """How much of the service each client address gets; `api.limits` says how that is counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: int = Field(default=50, ge=0, le=1_000_000)
    """Tokens that a client earns in a second; with 0 requests are not limited."""
    burst: int = Field(default=400, ge=1, le=1_000_000)
    """Tokens that a client has at most."""
    connections: int = Field(default=64, ge=1, le=1_000_000)
    """Connections that a client has open at most; those of trusted proxies are not counted."""
    streams: int = Field(default=8, ge=1, le=1_000_000)
    """Streams of events that a client has open at most."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = (
        IPv4Network("127.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    """Prefixes of the proxies whose `X-Forwarded-For` is believed."""
    limit_local: bool = False
    """Whether programs on this machine that ask directly are limited like everybody else."""


class Settings(BaseSettings):
    """Everything that `waypost run` may be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path
    """Folder of this node: genesis file, keys, database, publication."""
    host: str = "127.0.0.1"
    """Address on which the service listens."""
    port: int = Field(default=8420, ge=0, le=65535)
    """Port on which the service listens; 0 takes a free one."""
    engine: Literal["solo", "follow", "comet"] = "solo"
    """What orders blocks: this node alone, others that it takes them from, or validators together,
    each with a CometBFT beside it."""
    follow: tuple[str, ...] = ()
    """URLs of nodes to take blocks from, for the engine `follow`."""
    attest: Path | None = None
    """Key file of an attestor."""
    producer: Path | None = None
    """Key file of the producer, for the engine `solo`."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase of the key files; without it a person is asked."""
    new_watermark: bool = False
    """Whether a person vouches that what has no watermark was not signed by its key."""
    refill: tuple[str, ...] = ()
    """URLs of nodes from which a producer's older database is brought up to date first."""
    web: bool = True
    """Whether to serve; a replica that only attests does not."""
    workers: int = Field(default=0, ge=0, le=64)
    """Worker processes; 0 means one for each core."""
    limits: ClientLimits = ClientLimits()
    """What each client address gets of the service; a table in the file, JSON in a variable."""

    # ---- for the engine `comet` ----

    validator: Path | None = None
    """Key file whose consensus key agrees on blocks; without it the node executes and checks."""
    peers: tuple[Peer, ...] = ()
    """Nodes to keep a connection to; from them it learns of others."""
    p2p_host: str = Field(default="127.0.0.1", pattern=r"^[0-9A-Za-z.:-]+$")
    """Address on which its CometBFT listens for other nodes."""
    p2p_port: int = Field(default=26656, ge=1, le=65535)
    """Port on which its CometBFT listens for other nodes."""
    external_address: Address = ""
    """Where other nodes reach it, if that is not the address on which it listens."""
    rpc: Address = ""
    """Address on which its CometBFT answers those who join by a snapshot; nobody by default."""
    state_sync: tuple[RpcUrl, ...] = ()
    """CometBFTs that answer (`rpc`), to begin with a snapshot instead of the first block."""
    lists: tuple[str, ...] = ()
    """URLs of services whose signed lists, once verified, say which snapshot is the right one."""
    snapshot_epochs: int = Field(default=24, ge=0)
    """A snapshot for those who join is made each time that so many epochs ended; 0 makes none."""
    halt_height: int = Field(default=0, ge=0)
    """Last block that this version executes, before another one takes over; 0 means no such."""
    cometbft: Path | None = None
    """The program CometBFT; by default the one on the path, else in `.bin` of the checkout."""

    @property
    def key_files(self) -> list[Path]:
        """The key files that this node signs with, each once."""
        validator = self.validator if self.engine == "comet" else None
        named = (*self.ledger_key_files, validator)
        return list(dict.fromkeys(path for path in named if path is not None))

    @property
    def ledger_key_files(self) -> list[Path]:
        """Those of them that the ledger process signs with."""
        producer = self.producer if self.engine == "solo" else None
        return list(dict.fromkeys(path for path in (producer, self.attest) if path is not None))

    @property
    def genesis_path(self) -> Path:
        """The genesis file."""
        return self.home / GENESIS

    def read_genesis(self) -> bytes:
        """Return the bytes of the genesis file. Raises a `Fault` where there is none."""
        try:
            return self.genesis_path.read_bytes()
        except OSError:
            raise Fault(f"there is no genesis file {self.genesis_path}: waypost init") from None

    @property
    def database_path(self) -> Path:
        """The LevelDB folder."""
        return self.home / "ledger"

    @property
    def publish_path(self) -> Path:
        """The folder that any web server may serve."""
        return self.home / "publish"

    @property
    def run_path(self) -> Path:
        """Folder of the sockets."""
        return self.home / "run"

    @property
    def watermark_path(self) -> Path:
        """Folder of the watermarks: never part of a backup that is put back."""
        return self.home / WATERMARKS

    @property
    def ledger_socket(self) -> Path:
        """Socket of the ledger process."""
        return self.run_path / "ledger.sock"

    @property
    def abci_socket(self) -> Path:
        """Socket on which the ledger process serves CometBFT."""
        return self.run_path / ABCI_SOCKET

    @property
    def cometbft_rpc_socket(self) -> Path:
        """Socket on which CometBFT answers the ledger process, whatever `rpc` says."""
        return self.run_path / RPC_SOCKET

    @property
    def cometbft_path(self) -> Path:
        """The home of CometBFT."""
        return self.home / "cometbft"

    @property
    def snapshot_path(self) -> Path:
        """Folder of the snapshots, each in one named after its height."""
        return self.home / "snapshots"

    @property
    def worker_sockets(self) -> list[Path]:
        """Sockets of the worker processes."""
        count = self.workers or os.cpu_count() or 1
        return [self.run_path / f"worker-{number}.sock" for number in range(count)]


def load_settings(home: Path, flags: dict[str, Any]) -> Settings:
    """Return the settings of a home; `flags` that are None were not given.

    Raises `BadSettings`.
    """
    return load(Settings, home, CONFIG, flags, OTHER_VARIABLES, OTHER_PROGRAMS)


def load(
    kind: type[S],
    home: Path,
    file_name: str,
    flags: dict[str, Any],
    other_variables: tuple[str, ...] = (),
    other_programs: tuple[str, ...] = (),
) -> S:
    """Return settings with a field `home`; variables begin with the `env_prefix` of their kind.

    Those named last are left aside. Raises `BadSettings`.
    """
    path = home / file_name
    try:
        file = tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadSettings(f"{path}: {error}") from None
    known = set(kind.model_fields)
    for name in file:
        if name not in known or name == "home":
            raise BadSettings(f"{path}: there is no setting {name}")
    prefix = kind.model_config.get("env_prefix", PREFIX)
    in_environment: dict[str, Any] = {}
    for variable in sorted(os.environ):
        name = variable.removeprefix(prefix)
        if variable == name or name in other_variables or name.startswith(other_programs):
            continue
        if name.lower() not in known:
            raise BadSettings(f"{variable}: there is no setting {name.lower()}")
        in_environment[name.lower()] = None
    given = {name: value for name, value in flags.items() if value is not None}
    # what the environment says is read by the settings themselves, unless a flag or nothing is said
    from_file = {k: v for k, v in file.items() if k not in in_environment}
    try:
        return kind(home=home.absolute(), **(from_file | given))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"setting {name}: {first['msg']}") from None
    except SettingsError as error:
        # a variable whose value is a list has to be JSON
        raise BadSettings(f"{error}: write it as JSON, as in '[\"http://…\"]'") from None

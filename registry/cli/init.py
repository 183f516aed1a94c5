"""`waypost init`: make the home of a node.

- Alone it makes a new network: key files of producer, attestor and treasury, a genesis file whose
  coins the treasury has, and the settings of a node that orders blocks and attests. With the
  engine `comet` one key file is for both, the founder's who validates, and the nodes that come
  later and stand for a seat join him.
- The key files are encrypted with one passphrase, unless they are asked for in the clear.
- With `--genesis` it makes the home of a node of a network that exists: of its producer, of one
  that follows, or of one among validators.
- It never overwrites: a home that holds something is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from ledger.errors import WaypostError
from ledger.types import COIN
from registry.amounts import format_amount
from registry.cli.arguments import (
    KEY_FILE,
    NAME,
    Engine,
    HomeOption,
    Preset,
    parse_network_name,
)
from registry.cli.inheriting import InheritOption, put_inheritance
from registry.cli.keys import INSECURE
from registry.cli.output import Output, OutputOption, align, emit, refusals, warn
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.validating import ListsOption, PeerOption, StateSyncOption, ValidatorOption
from registry.home import GENESIS, INHERITANCE, WATERMARKS

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis

CONFIG: Final = "config.toml"
"""The settings of a home; `registry.settings` reads them."""

PRODUCER: Final = "producer.json"
ATTESTOR: Final = "attestor.json"
VALIDATOR: Final = "validator.json"
TREASURY: Final = "treasury.json"

TREASURY_COINS: Final = 10_000_000
POOL_COINS: Final = 1_000_000
DEFAULT_NAMES: Final = {"solo": "waypost-solo", "comet": "waypost-comet"}
COMETBFT: Final = "cometbft"
"""Folder of CometBFT's home in ours."""

VERBS: Final = {"producer": "produces", "validator": "validates", "attest": "attests"}
"""What a node does with each of the key files that it is given."""

AttestOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--attest", metavar=KEY_FILE, help="Key file to attest its lists with."),
]

app = typer.Typer()


class HomeInUse(WaypostError):
    """A home holds something already."""


class WrongProducer(WaypostError):
    """A key file is not that of the producer whom a genesis file names."""


class _Joining(NamedTuple):
    """What is told of a node of a network that exists."""

    engine: str
    follow: list[str]
    producer: Path | None
    attest: Path | None
    validator: Path | None
    peers: list[str]
    state_sync: list[str]
    lists: list[str]
    inherit: Path | None

    @property
    def names_anything(self) -> bool:
        """Whether any of it was said, the engine aside."""
        return any(self[1:])

    def check(self, genesis: Path | None) -> None:
        """See that what was said goes together."""
        if genesis is None:
            raise typer.BadParameter("a node of a network that exists needs its --genesis")
        if self.engine == "comet":
            if self.follow or self.producer:
                raise typer.BadParameter("with --engine comet there is no --follow and --producer")
            if bool(self.state_sync) != bool(self.lists):
                raise typer.BadParameter("--state-sync and --lists need each other")
        elif self.validator or self.peers or self.state_sync or self.lists:
            raise typer.BadParameter(
                "--validator, --peer, --state-sync and --lists are for --engine comet"
            )
        elif bool(self.follow) == bool(self.producer):
            raise typer.BadParameter("name --genesis with one of --follow and --producer")


@app.command()
def init(
    home: HomeOption = None,
    engine: Annotated[
        Engine, typer.Option(help="Who orders the blocks: one producer, or validators together.")
    ] = "solo",
    preset: Annotated[
        Preset | None,
        typer.Option(help="Parameters of the new network; minimal by default."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            parser=parse_network_name,
            metavar=NAME,
            help="Name of the new network; waypost- and its engine by default.",
        ),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="Genesis file of a network that exists.")
    ] = None,
    producer: Annotated[
        Path | None,
        typer.Option(metavar=KEY_FILE, help="Key file of its producer, for who orders the blocks."),
    ] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A node to take its blocks from; may be repeated."),
    ] = None,
    attest: AttestOption = None,
    validator: ValidatorOption = None,
    peer: PeerOption = None,
    state_sync: StateSyncOption = None,
    lists: ListsOption = None,
    inherit: InheritOption = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Key files in the clear: for development only.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the home of a new network with one founder, or of a node of one that exists.

    A new network gets new key files, all with the same passphrase. Of a network that exists, name
    the genesis file, and a node to follow or the producer's key file: --genesis FILE --follow URL,
    or --genesis FILE --producer KEYFILE. Of one whose engine is comet, name that and other nodes.
    """
    joining = _Joining(
        engine,
        follow or [],
        producer,
        attest,
        validator,
        peer or [],
        state_sync or [],
        lists or [],
        inherit,
    )
    exists = genesis is not None or joining.names_anything
    if exists:
        joining.check(genesis)
    if exists and (preset or name):
        raise typer.BadParameter("--preset and --name are for a new network only")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    if (exists or not keys.is_attended) and insecure:
        raise typer.BadParameter("--insecure is for a new network's key files, with no passphrase")
    with refusals():
        _init(home, genesis, joining, _New(preset or "minimal", name, keys, insecure), output)


class _New(NamedTuple):
    """What is told of a new network."""

    preset: str
    name: str | None
    keys: KeyFiles
    insecure: bool


def _init(
    home: Path | None, genesis: Path | None, joining: _Joining, new: _New, output: Output
) -> None:
    from registry.home import default_home

    folder = (home or default_home()).absolute()
    _check_unused(folder)
    if genesis:
        made = _join_network(folder, genesis, joining)
    else:
        passphrase = None if new.insecure else new.keys.choose(f"the key files of {folder}")
        name = new.name or DEFAULT_NAMES[joining.engine]
        made = _make_network(folder, joining.engine, new.preset, name, passphrase)
    if joining.engine == "comet":
        made |= _make_cometbft(folder)
    steps = _next_steps(folder, is_named=home is not None, is_new=not genesis)
    if not genesis and not new.insecure:
        steps += _backup_steps(folder, _key_files(joining.engine))
    shown = "\n".join((_format(made), "", "Next:", *(f"  {step}" for step in steps)))
    emit(made | {"next": steps}, output, shown)


def _check_unused(folder: Path) -> None:
    keys = (PRODUCER, ATTESTOR, VALIDATOR, TREASURY)
    for name in (GENESIS, CONFIG, INHERITANCE, *keys, "ledger", COMETBFT, WATERMARKS):
        if (folder / name).exists():
            raise HomeInUse(
                f"{folder / name} exists already: choose another --home, or move the old one away"
            )


def _key_files(engine: str) -> tuple[str, ...]:
    """Return the key files of a new network."""
    return (TREASURY, VALIDATOR) if engine == "comet" else (TREASURY, PRODUCER, ATTESTOR)


def _make_cometbft(folder: Path) -> dict[str, Any]:
    """Make the key by which other nodes know this one; say if there is no CometBFT to run."""
    from registry.cometbft.home import prepare_node
    from registry.cometbft.version import NoCometbft, find_program
    from registry.settings import load_settings

    settings = load_settings(folder, {})
    try:
        find_program(settings.cometbft)
    except NoCometbft as error:
        warn(str(error))
    return {"peer": f"{prepare_node(settings)}@HOST:{settings.p2p_port}"}


def _make_network(
    folder: Path, engine: str, preset: str, name: str, passphrase: bytes | None
) -> dict[str, Any]:
    """Make keys, genesis and settings; the settings come last, so nothing runs before all is."""
    from secrets import token_bytes

    from registry.addresses import encode_account
    from registry.files import write_durably
    from registry.keystore import derive, save_insecure_seed, save_seed

    seeds = {file: token_bytes(32) for file in _key_files(engine)}
    raw = _found(engine, preset, name, seeds)
    for file, seed in seeds.items():
        if passphrase is None:
            save_insecure_seed(folder / file, seed)
        else:
            save_seed(folder / file, seed, passphrase)
    write_durably(folder / GENESIS, raw)
    if engine == "comet":
        signing = {"validator": folder / VALIDATOR, "attest": folder / VALIDATOR}
    else:
        signing = {"producer": folder / PRODUCER, "attest": folder / ATTESTOR}
    write_durably(folder / CONFIG, _compose_settings(engine, signing, {}))
    if passphrase is None:
        warn(f"{folder}: {INSECURE}")
    else:
        warn(
            "the keys have no backup yet: without file and passphrase, or the words, they are lost"
        )
    warn("one attestor signs alone: whoever holds its key can sign what he likes")
    files = {file.removesuffix(".json"): str(folder / file) for file in reversed(seeds)}
    return {
        "home": str(folder),
        "network": name,
        "preset": preset,
        "genesis_hash": _hash(raw),
        **files,
        "account": encode_account(derive(seeds[TREASURY], "account").public),
        "balance": str(TREASURY_COINS * COIN),
    }


def _found(engine: str, preset: str, name: str, seeds: dict[str, bytes]) -> bytes:
    """Return the genesis file of a network with one founder."""
    from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO
    from registry.founding import make_genesis, make_seat
    from registry.keystore import derive

    validates = engine == "comet"
    seat = make_seat(seeds[VALIDATOR if validates else ATTESTOR], validates=validates)
    treasury = derive(seeds[TREASURY], "account").public
    return make_genesis(
        name,
        preset,
        {},
        b"" if validates else derive(seeds[PRODUCER], "producer").public,
        [seat],
        [(treasury, TREASURY_COINS * COIN)],
        POOL_COINS * COIN,
        engine=COMET if validates else SOLO,
        policy=REGISTRY if validates else FIXED,
    )


def _join_network(folder: Path, genesis: Path, joining: _Joining) -> dict[str, Any]:
    from ledger.genesis import load_genesis
    from registry.engines import check_engine
    from registry.files import write_durably
    from registry.settings import load_settings

    raw = genesis.read_bytes()
    parsed = load_genesis(raw)
    engine = "follow" if joining.follow else joining.engine
    check_engine(parsed, engine)
    keys = {
        "producer": joining.producer,
        "validator": joining.validator,
        "attest": joining.attest,
    }
    signing = {name: file.absolute() for name, file in keys.items() if file is not None}
    if joining.producer is not None:
        _check_producer(parsed, joining.producer)
    if joining.attest is not None:
        _check_seat(parsed, joining.attest)
    if joining.validator is not None:
        _check_validator(parsed, joining.validator)
    lists = {
        "follow": joining.follow,
        "peers": joining.peers,
        "state_sync": joining.state_sync,
        "lists": joining.lists,
    }
    # what no setting can be is refused before anything is written
    load_settings(folder, {name: tuple(rows) for name, rows in lists.items()})
    if joining.inherit is not None:
        put_inheritance(joining.inherit, folder, raw)
    write_durably(folder / GENESIS, raw)
    write_durably(folder / CONFIG, _compose_settings(engine, signing, lists))
    told = {f"{verb}_with": str(signing[name]) for name, verb in VERBS.items() if name in signing}
    return {
        "home": str(folder),
        "network": parsed.name.decode(),
        "genesis_hash": _hash(raw),
        "follows": joining.follow,
        "peers": joining.peers,
        "produces_with": None,
        "validates_with": None,
        "attests_with": None,
    } | told


def _check_producer(genesis: "Genesis", producer: Path) -> None:
    from registry.keystore import describe_file

    key = describe_file(producer)[0]["producer"]
    if key != genesis.producer.hex():
        raise WrongProducer(
            f"{producer} holds the producer's key {key}, the genesis file names "
            f"{genesis.producer.hex()}: give that one, or --follow to take blocks from it"
        )


def _check_seat(genesis: "Genesis", attest: Path) -> None:
    """Warn about a key that signs nothing yet; a later set of attestors may have it."""
    from registry.keystore import describe_file

    # what an encrypted file says of itself is proven when the node starts
    key = describe_file(attest)[0]["list"]
    if all(seat.list_key.hex() != key for seat in genesis.attestors):
        warn(f"{attest} has no seat among the attestors of the genesis file: it signs nothing yet")


def _check_validator(genesis: "Genesis", validator: Path) -> None:
    """Warn about a key that agrees on no block yet; a later set may have it."""
    from registry.keystore import describe_file

    key = describe_file(validator)[0]["consensus"]
    if all(seat.consensus_key.hex() != key for seat in genesis.attestors):
        warn(f"{validator} has no seat in the genesis file: it validates nothing yet")


def _format(made: dict[str, Any]) -> str:
    shown = {k: ", ".join(v) if isinstance(v, list) else v for k, v in made.items()}
    if "balance" in made:
        shown["balance"] = format_amount(int(made["balance"]))
    return align([(name.replace("_", " "), value) for name, value in shown.items() if value])


def _hash(raw: bytes) -> str:
    from ledger.crypto import sha256

    return sha256(raw).hex()


def _compose_settings(engine: str, keys: dict[str, Path], lists: dict[str, list[str]]) -> bytes:
    lines = [
        "# Settings of this node, for `waypost run`; its flags and WAYPOST_ variables go before.",
        f"engine = {_toml(engine)}",
        *(f"{name} = [{', '.join(map(_toml, rows))}]" for name, rows in lists.items() if rows),
        *(f"{name} = {_toml(str(path))}" for name, path in keys.items()),
    ]
    return ("\n".join(lines) + "\n").encode()


def _toml(text: str) -> str:
    """Return a text as TOML writes it: like JSON, but for one character."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _next_steps(folder: Path, *, is_named: bool, is_new: bool) -> list[str]:
    import shlex

    home = f" --home {shlex.quote(str(folder))}" if is_named else ""
    treasury = shlex.quote(str(folder / TREASURY))
    pay = f"waypost account send --from {treasury} --to ADDRESS --amount 1000"
    audit = f"waypost ledger audit{home}"
    return [f"waypost run{home}", "waypost node list", pay if is_new else audit]


def _backup_steps(folder: Path, files: tuple[str, ...]) -> list[str]:
    import shlex

    return [f"waypost keys backup {shlex.quote(str(folder / file))}" for file in files]

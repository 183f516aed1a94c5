"""`waypost init`: make the home of a node.

- Alone it makes a new network: key files of producer, attestor and treasury, a genesis file whose
  coins the treasury has, and the settings of a node that orders blocks and attests.
- The key files are encrypted with one passphrase, unless they are asked for in the clear.
- With `--genesis` it makes the home of a node of a network that exists: of its producer, or of one
  that follows.
- It never overwrites: a home that holds something is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.errors import WaypostError
from ledger.types import COIN
from registry.cli.amounts import format_amount
from registry.cli.arguments import KEY_FILE, NAME, HomeOption, Preset, parse_network_name
from registry.cli.keys import INSECURE
from registry.cli.output import Output, OutputOption, align, emit, refusals, warn
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.home import GENESIS, WATERMARKS

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis

CONFIG: Final = "config.toml"
"""The settings of a home; `registry.settings` reads them."""

PRODUCER: Final = "producer.json"
ATTESTOR: Final = "attestor.json"
TREASURY: Final = "treasury.json"

TREASURY_COINS: Final = 10_000_000
POOL_COINS: Final = 1_000_000
DEFAULT_NAME: Final = "waypost-solo"

app = typer.Typer()


class HomeInUse(WaypostError):
    """A home holds something already."""


class WrongProducer(WaypostError):
    """A key file is not that of the producer whom a genesis file names."""


@app.command()
def init(
    home: HomeOption = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="Parameters of the new network; minimal by default."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            parser=parse_network_name,
            metavar=NAME,
            help=f"Name of the new network; {DEFAULT_NAME} by default.",
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
    attest: Annotated[
        Path | None,
        typer.Option(metavar=KEY_FILE, help="Key file to attest its lists with."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Key files in the clear: for development only.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the home of a new network with one producer, or of a node of one that exists.

    A new network gets new key files, all with the same passphrase. Of a network that exists, name
    the genesis file, and a node to follow or the producer's key file: --genesis FILE --follow URL,
    or --genesis FILE --producer KEYFILE.
    """
    from registry.home import default_home

    exists = bool(genesis or follow or attest or producer)
    if exists and not (genesis and bool(follow) != bool(producer)):
        raise typer.BadParameter("name --genesis with one of --follow and --producer")
    if exists and (preset or name):
        raise typer.BadParameter("--preset and --name are for a new network only")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    if (exists or not keys.is_attended) and insecure:
        raise typer.BadParameter("--insecure is for a new network's key files, with no passphrase")
    with refusals():
        folder = (home or default_home()).absolute()
        _check_unused(folder)
        if genesis:
            made = _join_network(folder, genesis, follow or [], producer, attest)
        else:
            passphrase = None if insecure else keys.choose(f"the key files of {folder}")
            made = _make_network(folder, preset or "minimal", name or DEFAULT_NAME, passphrase)
        steps = _next_steps(folder, is_named=home is not None, is_new=not exists)
        if not exists and not insecure:
            steps += _backup_steps(folder)
        shown = "\n".join((_format(made), "", "Next:", *(f"  {step}" for step in steps)))
        emit(made | {"next": steps}, output, shown)


def _check_unused(folder: Path) -> None:
    for name in (GENESIS, CONFIG, PRODUCER, ATTESTOR, TREASURY, "ledger", WATERMARKS):
        if (folder / name).exists():
            raise HomeInUse(
                f"{folder / name} exists already: choose another --home, or move the old one away"
            )


def _make_network(folder: Path, preset: str, name: str, passphrase: bytes | None) -> dict[str, Any]:
    """Make keys, genesis and settings; the settings come last, so nothing runs before all is."""
    from secrets import token_bytes

    from registry.addresses import encode_account
    from registry.files import write_durably
    from registry.founding import make_genesis, make_seat
    from registry.keystore import derive, save_insecure_seed, save_seed

    seeds = {file: token_bytes(32) for file in (PRODUCER, ATTESTOR, TREASURY)}
    treasury = derive(seeds[TREASURY], "account").public
    raw = make_genesis(
        name,
        preset,
        {},
        derive(seeds[PRODUCER], "producer").public,
        [make_seat(seeds[ATTESTOR])],
        [(treasury, TREASURY_COINS * COIN)],
        POOL_COINS * COIN,
    )
    for file, seed in seeds.items():
        if passphrase is None:
            save_insecure_seed(folder / file, seed)
        else:
            save_seed(folder / file, seed, passphrase)
    write_durably(folder / GENESIS, raw)
    _write_settings(folder, {"producer": folder / PRODUCER, "attest": folder / ATTESTOR}, ())
    if passphrase is None:
        warn(f"{folder}: {INSECURE}")
    else:
        warn(
            "the keys have no backup yet: without file and passphrase, or the words, they are lost"
        )
    warn("one attestor signs alone: whoever holds its key can sign what he likes")
    return {
        "home": str(folder),
        "network": name,
        "preset": preset,
        "genesis_hash": _hash(raw),
        "producer": str(folder / PRODUCER),
        "attestor": str(folder / ATTESTOR),
        "treasury": str(folder / TREASURY),
        "account": encode_account(treasury),
        "balance": str(TREASURY_COINS * COIN),
    }


def _join_network(
    folder: Path, genesis: Path, urls: list[str], producer: Path | None, attest: Path | None
) -> dict[str, Any]:
    from ledger.genesis import load_genesis
    from registry.engines import check_engine
    from registry.files import write_durably

    raw = genesis.read_bytes()
    parsed = load_genesis(raw)
    check_engine(parsed)
    made = {
        "home": str(folder),
        "network": parsed.name.decode(),
        "genesis_hash": _hash(raw),
        "follows": urls,
        "produces_with": None if producer is None else str(producer.absolute()),
        "attests_with": None if attest is None else str(attest.absolute()),
    }
    if producer is not None:
        _check_producer(parsed, producer)
    if attest is not None:
        _check_seat(parsed, attest)
    write_durably(folder / GENESIS, raw)
    named = {"producer": producer, "attest": attest}
    keys = {name: file.absolute() for name, file in named.items() if file is not None}
    _write_settings(folder, keys, urls)
    return made


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


def _format(made: dict[str, Any]) -> str:
    shown = made | {"follows": ", ".join(made.get("follows", ()))}
    if "balance" in made:
        shown["balance"] = format_amount(int(made["balance"]))
    return align([(name.replace("_", " "), value) for name, value in shown.items() if value])


def _hash(raw: bytes) -> str:
    from ledger.crypto import sha256

    return sha256(raw).hex()


def _write_settings(folder: Path, keys: dict[str, Path], urls: tuple[str, ...] | list[str]) -> None:
    from registry.files import write_durably

    lines = [
        "# Settings of this node, for `waypost run`; its flags and WAYPOST_ variables go before.",
        f"engine = {_toml('follow' if urls else 'solo')}",
    ]
    if urls:
        lines.append(f"follow = [{', '.join(map(_toml, urls))}]")
    lines += [f"{name} = {_toml(str(path))}" for name, path in keys.items()]
    write_durably(folder / CONFIG, ("\n".join(lines) + "\n").encode())


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


def _backup_steps(folder: Path) -> list[str]:
    import shlex

    files = (TREASURY, PRODUCER, ATTESTOR)
    return [f"waypost keys backup {shlex.quote(str(folder / file))}" for file in files]

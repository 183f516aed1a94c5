"""The end of a node's duty, and the keys of its roles: two commands of `waypost node`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
import typer

from ledger.errors import WaypostError
from registry.amounts import format_span, format_time
from registry.cli.arguments import ADDRESS, KEY_FILE, NO_ADDRESS, parse_node
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption

if TYPE_CHECKING:
    from ledger.crypto import KeyPair
    from registry.wallet import RolePairs

NO_KEY: Final = NO_ADDRESS
"""Stands for "no such key", where one is taken away."""

ROLE_KEYS: Final = f"{KEY_FILE}|{NO_KEY}"

UNFUNDED: Final = ("awaiting", "queued")
"""States of a node that was never active in this life."""


class KeyElsewhere(WaypostError):
    """A key that stays has to prove itself, and the key file at hand is not the one that has it."""


class Leaving(msgspec.Struct):
    """Of a node what `unlock` works with."""

    life: int
    state: str


class RoleKeys(msgspec.Struct):
    """Of a node what `set-keys` works with."""

    life: int
    duty_key: str
    list_key: str | None
    consensus_key: str | None
    contact_sequence: int


class EpochEnd(msgspec.Struct):
    """Of the network's summary when its epoch ends."""

    epoch_ends_ms: int


class Parting(NamedTuple):
    """When a node is out, at the earliest."""

    duty_ends_ms: int
    payout_ms: int
    sentence: str


def unlock(
    node: Annotated[
        bytes,
        typer.Argument(
            parser=parse_node, metavar=ADDRESS, help="Address of the node.", show_default=False
        ),
    ],
    source: Annotated[
        Path,
        typer.Option("--from", metavar=KEY_FILE, help="Key file of the operator or contributor."),
    ],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask a node to end its duty, so that all its stake comes back. Nothing takes this back.

    The operator may ask at any time, a contributor once the node was active for some time. Duty
    ends at the end of an epoch, in the order of asking; the stake is paid out later, and can be
    slashed until then.
    """
    from registry.addresses import encode_node
    from registry.cli.http import Service, convert
    from registry.cli.sending import emit_sent, get_target, send_paid

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(source)
        address = encode_node(node)
        known = convert(service.get(f"/v1/nodes/{address}"), Leaving)
        target = get_target(service, genesis)
        row = send_paid(
            service,
            target,
            seed,
            lambda wallet, terms: wallet.request_unlock(terms, node, known.life),
            wait,
        )
        ends_ms = convert(service.get("/v1/network"), EpochEnd).epoch_ends_ms
        parting = _part(known.state, ends_ms, target.params.unbonding_ms)
        emit_sent(
            row,
            output,
            f"{address} is to leave: {parting.sentence}",
            target,
            node=address,
            duty_ends_ms=parting.duty_ends_ms,
            payout_ms=parting.payout_ms,
        )


def _part(state: str, epoch_ends_ms: int, unbonding_ms: int) -> Parting:
    """Return when a node in a state is out that asks in the running epoch."""
    end = format_time(epoch_ends_ms)
    if state in UNFUNDED:
        sentence = f"all stake comes back with the end of this epoch, from {end} on"
        return Parting(epoch_ends_ms, epoch_ends_ms, sentence)
    payout_ms = epoch_ends_ms + unbonding_ms
    sentence = (
        f"its duty ends with an epoch, this one from {end} on at the earliest, in the order of "
        f"asking; the stake is paid out {format_span(unbonding_ms)} later, not before "
        f"{format_time(payout_ms)}"
    )
    if state == "decommissioned":
        sentence += "; it is decommissioned and has to be active again first, or is deregistered"
    return Parting(epoch_ends_ms, payout_ms, sentence)


def set_keys(
    node: Annotated[Path, typer.Option("--node", metavar=KEY_FILE, help="Key file of the node.")],
    duty: Annotated[
        Path | None, typer.Option(metavar=KEY_FILE, help="Key file with the duty key.")
    ] = None,
    lists: Annotated[
        str | None,
        typer.Option(
            "--list", metavar=ROLE_KEYS, help="Key file with the list key, to attest with."
        ),
    ] = None,
    consensus: Annotated[
        str | None, typer.Option(metavar=ROLE_KEYS, help="Key file with the consensus key.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change the keys of a node's roles at the epoch's end; what is not named stays. Free.

    Every key proves itself, also one that stays: where it is not that of the node's own key file,
    name the file that has it. What an old key signed can still be held against the node.
    """
    from registry.addresses import encode_node
    from registry.cli.http import Service, convert
    from registry.cli.sending import emit_sent, get_target, send
    from registry.keystore import derive
    from registry.wallet import sign_keys

    if duty is None and lists is None and consensus is None:
        raise typer.BadParameter("say what changes: --duty, --list or --consensus")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        pair = derive(keys.load(node), "node")
        address = encode_node(pair.public)
        known = convert(service.get(f"/v1/nodes/{address}"), RoleKeys)
        told = {
            "duty": None if duty is None else str(duty),
            "list": lists,
            "consensus": consensus,
        }
        roles = _find_roles(known, node, told, keys)
        target = get_target(service, genesis)
        sequence = known.contact_sequence + 1
        raw = sign_keys(target.genesis_hash, pair, known.life, sequence, roles)
        row = send(service, raw, wait)
        emit_sent(
            row,
            output,
            f"new role keys of {address}, from the epoch's end on",
            target,
            node=address,
            sequence=sequence,
            duty_key=roles.duty.public.hex(),
            list_key=roles.lists.public.hex() if roles.lists else None,
            consensus_key=roles.consensus.public.hex() if roles.consensus else None,
        )


def _find_roles(
    known: RoleKeys, node: Path, told: dict[str, str | None], keys: KeyFiles
) -> "RolePairs":
    """Return the pairs that a node is to have, from the files that were told or its own."""
    from registry.founding import make_seat
    from registry.wallet import RolePairs

    now = {"duty": known.duty_key, "list": known.list_key, "consensus": known.consensus_key}
    pairs = {role: _find_pair(role, now[role], node, told[role], keys) for role in now}
    duty, lists = pairs["duty"], pairs["list"]
    assert duty is not None  # nobody can take it away
    is_new = lists is not None and lists.public.hex() != known.list_key
    # a key that comes has to bring its hash chain, one that stays goes on with its own
    tip = make_seat(keys.load(Path(told["list"] or node))).tip if is_new else b""
    return RolePairs(duty, lists, tip, pairs["consensus"])


def _find_pair(
    role: str, now: str | None, node: Path, told: str | None, keys: KeyFiles
) -> "KeyPair | None":
    from registry.keystore import derive

    if (told == NO_KEY and role != "duty") or (told is None and now is None):
        return None
    if told is not None:
        return derive(keys.load(Path(told)), role)
    pair = derive(keys.load(node), role)
    if pair.public.hex() != now:
        raise KeyElsewhere(
            f"the {role} key {now} stays and has to prove itself, but {node} does not have it: "
            f"name its key file with --{role}"
        )
    return pair

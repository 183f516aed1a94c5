"""`waypost rewards`: what nodes earned for whom, and taking it.

show      what waits for an account, or in a node and for whom
claim     have it paid to the beneficiary
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from ledger.errors import WaypostError
from registry.amounts import format_amount, format_time
from registry.cli.arguments import ADDRESS, KEY_FILE, parse_node, parse_party
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import EXIT_REFUSED, Output, OutputOption, Table, align, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption

if TYPE_CHECKING:
    from registry.cli import http
    from registry.cli.card import NodeStatus
    from registry.cli.sending import Target

app = typer.Typer(no_args_is_help=True)


REFUSED: Final = "refused"
"""State of a claim that the service did not take."""


class Signed(msgspec.Struct):
    """Of a transaction its bytes; None if they are not kept."""

    raw: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")] | None


class NothingToClaim(WaypostError):
    """No rewards wait for an account."""


@app.command()
def show(
    party: Annotated[
        str,
        typer.Argument(
            parser=parse_party,
            metavar="ACCOUNT|NODE",
            help="Address of an account or a node.",
            show_default=False,
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what waits for an account, node by node, or what a node earns and for whom."""
    from registry.addresses import NODE
    from registry.cli.card import NodeStatus
    from registry.cli.http import Account, Service, convert

    with refusals(), Service(url) as service:
        if party.startswith(NODE):
            answer = service.get(f"/v1/nodes/{party}")
            node = convert(answer, NodeStatus)
            facts = {"node": node.key, "rewards": answer["rewards"]}
            emit(facts, output, lambda: _format_node(node))
        else:
            answer = service.get(f"/v1/accounts/{party}")
            account = convert(answer, Account)
            facts = {name: answer[name] for name in ("account", "claimable", "rewards")}
            emit(facts, output, lambda: _tabulate(account))


def _format_node(node: "NodeStatus") -> str:
    rewards = node.rewards
    start = "once it is active"
    if rewards.earns_from_ms is not None:
        start = f"from {format_time(rewards.earns_from_ms)} on"
    shares = [
        (
            "contributor",
            f"{share.account} {format_amount(int(share.claimable))} to be claimed, "
            f"{format_amount(int(share.per_epoch))} an epoch",
        )
        for share in rewards.contributors
    ]
    return align(
        [
            ("node", node.key),
            ("earns", start if rewards.earning else f"nothing now; {start} while it is active"),
            ("an epoch", format_amount(int(rewards.per_epoch))),
            ("earned", format_amount(int(rewards.period_total))),
            ("claimable", format_amount(int(rewards.claimable))),
            *shares,
        ]
    )


def _tabulate(account: "http.Account") -> Table:
    rows = [[row.node, format_amount(int(row.claimable))] for row in account.rewards]
    caption = f"{format_amount(int(account.claimable))} wait for {account.account}"
    return Table(("node", "claimable"), rows, caption)


@app.command()
def claim(
    source: Annotated[
        Path,
        typer.Option("--from", metavar=KEY_FILE, help="Key file of a contributor or beneficiary."),
    ],
    node: Annotated[
        bytes | None,
        typer.Option(
            parser=parse_node,
            metavar=ADDRESS,
            help="One node; all where rewards wait for this account by default.",
            show_default=False,
        ),
    ] = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Of all nodes, as without --node: for scripts to say so.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Have rewards paid to their beneficiary: one transaction, and one fee, for each node."""
    from registry.addresses import encode_node
    from registry.cli.http import Service
    from registry.cli.sending import get_target

    if is_all and node is not None:
        raise typer.BadParameter("--all and --node exclude each other")
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        seed = keys.load(source)
        target = get_target(service, genesis)
        if node is not None:
            rows = [_claim(service, target, seed, encode_node(node), wait=wait)]
        else:
            rows = _claim_all(service, target, seed, wait=wait)
        if wait:
            _wait_for_all(service, rows)
            rows = [row | _look_up(service, row["hash"]) if row["hash"] else row for row in rows]
        facts = {"network": target.name, "genesis_hash": target.genesis_hash.hex(), "claims": rows}
        emit(facts, output, lambda: _tabulate_claims(rows, target))
        if any(row["state"] == REFUSED for row in rows):
            raise typer.Exit(EXIT_REFUSED)


def _find_nodes(service: "http.Service", seed: bytes) -> list[str]:
    """Return the nodes where something waits for the account of a seed."""
    from registry.addresses import encode_account
    from registry.cli.http import Account, convert
    from registry.keystore import derive

    address = encode_account(derive(seed, "account").public)
    account = convert(service.get(f"/v1/accounts/{address}"), Account)
    found = [row.node for row in account.rewards if int(row.claimable)]
    if not found:
        raise NothingToClaim(f"no rewards wait for {address}: `waypost rewards show` says more")
    return found


def _claim_all(
    service: "http.Service", target: "Target", seed: bytes, *, wait: bool
) -> list[dict[str, Any]]:
    """Claim what waits in each node, waiting for the last of them alone."""
    nodes = _find_nodes(service, seed)
    return [
        _claim_or_tell(service, target, seed, key, wait=wait and place == len(nodes))
        for place, key in enumerate(nodes, 1)
    ]


def _claim_or_tell(
    service: "http.Service", target: "Target", seed: bytes, address: str, *, wait: bool
) -> dict[str, Any]:
    """Claim what waits in one node; a refusal is a row too, since others were claimed already."""
    from registry.cli.http import Refused

    try:
        return _claim(service, target, seed, address, wait=wait)
    except Refused as refused:
        row = {"node": address, "hash": None, "state": REFUSED, "height": None, "index": None}
        return row | {"code": refused.code, "detail": refused.text}


def _claim(
    service: "http.Service", target: "Target", seed: bytes, address: str, *, wait: bool
) -> dict[str, Any]:
    """Claim what waits in one node, and return what became of that."""
    from registry.addresses import decode_node
    from registry.cli.http import Node, convert
    from registry.cli.sending import send_paid

    life = convert(service.get(f"/v1/nodes/{address}"), Node).life
    key = decode_node(address)
    row = send_paid(
        service, target, seed, lambda wallet, terms: wallet.claim_rewards(terms, key, life), wait
    )
    return {"node": address} | {name: row[name] for name in ("hash", "state", "height", "index")}


def _wait_for_all(service: "http.Service", rows: list[dict[str, Any]]) -> None:
    """Wait for the last claim that was sent, where the last of all was refused.

    To send it again is safe, and waits for its block.
    """
    from registry.cli.http import Refused, convert

    sent = [row for row in rows if row["hash"]]
    if sent and rows[-1]["state"] == REFUSED:
        known = convert(service.get(f"/v1/transactions/{sent[-1]['hash']}"), Signed)
        if known.raw is not None:
            # what became of it is looked up afterwards
            with suppress(Refused):
                service.submit(bytes.fromhex(known.raw), wait=True)


def _look_up(service: "http.Service", tx_hash: str) -> dict[str, Any]:
    """Return what became of a transaction, now that one behind it stands in a block."""
    answer = service.get(f"/v1/transactions/{tx_hash}")
    return {name: answer[name] for name in ("state", "height", "index")}


def _tabulate_claims(rows: list[dict[str, Any]], target: "Target") -> Table:
    cells = [[row["node"], _tell_claim(row), row["hash"] or "-"] for row in rows]
    return Table(("node", "claimed", "hash"), cells, f"network {target.name}")


def _tell_claim(row: dict[str, Any]) -> str:
    if row["state"] == REFUSED:
        return f"refused: {row['code']}: {row['detail']}"
    return f"in block {row['height']}" if row["state"] == "committed" else "waits for a block"

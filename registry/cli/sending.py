"""Signing with a key file and sending to a service: what `node`, `account` and `tx` share.

- What is signed holds on one network only, the one whose genesis hash it covers. Without
  `--genesis` that is the one that the service says it is, and the result names it.
- A nonce that is used by a transaction that still waits is replaced by the next one, also where
  that transaction is the very same: to send five coins twice is to send ten.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from ledger.errors import WaypostError
from registry.cli.http import (
    Account,
    BadAnswer,
    Network,
    Refused,
    Rules,
    Service,
    ServiceError,
    convert,
)
from registry.cli.output import Output, align, emit

if TYPE_CHECKING:
    from ledger.params import Params
    from registry.wallet import Terms, Wallet

LIFETIME_BLOCKS: Final = 600
"""How long a transaction may wait for a block, where the network allows it."""

NONCES_TRIED: Final = 20

WaitOption: TypeAlias = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until a block decided, 60 s at most.")
]
GenesisOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--genesis",
        help="Genesis file of the network to sign for; what the service says by default.",
    ),
]


class WrongNetwork(WaypostError):
    """The service is of another network than the one to sign for."""


class StillPending(WaypostError):
    """No block decided about a transaction while we waited; it may still come into one."""


class Target(NamedTuple):
    """The network to sign for."""

    name: str
    genesis_hash: bytes
    params: "Params"
    """In force now."""
    height: int
    time_ms: int
    minimum_fee: int


def get_target(service: Service, genesis: Path | None) -> Target:
    """Return the network of a service. Raises `WrongNetwork` if a genesis file says otherwise."""
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from ledger.params import Params

    network = convert(service.get("/v1/network"), Network)
    raw = service.get_bytes("/v1/genesis") if genesis is None else genesis.read_bytes()
    parsed = load_genesis(raw)
    rules = convert(service.get("/v1/rules"), Rules)
    in_force = {row.name: int(row.value) for row in rules.parameters if row.name in Params._fields}
    if sha256(raw).hex() != network.genesis_hash:
        if genesis is None:
            raise BadAnswer(f"{service.url} names one genesis and gives another")
        raise WrongNetwork(
            f"{service.url} serves the network {network.chain} with the genesis "
            f"{network.genesis_hash}, {genesis} is {sha256(raw).hex()}"
        )
    return Target(
        parsed.name.decode(),
        sha256(raw),
        Params(*parsed.params)._replace(**in_force),
        network.height,
        network.time_ms,
        int(network.minimum_fee),
    )


def send_paid(
    service: Service,
    target: Target,
    seed: bytes,
    make: Callable[["Wallet", "Terms"], bytes],
    wait: bool,
) -> dict[str, Any]:
    """Send the transaction that `make` signs with a seed's account; return what became of it."""
    from ledger.crypto import sha256
    from registry.keystore import derive
    from registry.wallet import Wallet

    wallet = Wallet(target.genesis_hash, derive(seed, "account"))
    terms = get_terms(service, target, wallet.account)
    for _ in range(NONCES_TRIED):
        raw = make(wallet, terms)
        same = service.find(f"/v1/transactions/{sha256(raw).hex()}")
        if same is not None and same.get("state") == "pending":
            terms = terms._replace(nonce=terms.nonce + 1)
            continue
        try:
            return send(service, raw, wait)
        except Refused as refused:
            expected = refused.values.get("expected")
            if refused.code != "nonce_used" or type(expected) is not int or expected <= terms.nonce:
                raise
            # its transactions that wait for a block are not in the account's nonce
            terms = terms._replace(nonce=expected)
    raise ServiceError("other transactions of this account get ahead each time: try again")


def get_terms(
    service: Service, target: Target, account: bytes, lifetime_blocks: int = LIFETIME_BLOCKS
) -> "Terms":
    """Return what the envelope of an account's next transaction says; the lifetime is cut to what
    the network allows."""
    from registry.addresses import encode_account
    from registry.wallet import Terms

    answer = service.get(f"/v1/accounts/{encode_account(account)}")
    expiry = target.height + min(lifetime_blocks, target.params.max_lifetime_blocks)
    return Terms(convert(answer, Account).nonce, target.minimum_fee, expiry)


def send(service: Service, raw: bytes, wait: bool) -> dict[str, Any]:
    """Send a transaction; return what became of it. Raises `StillPending`."""
    row = service.submit(raw, wait)
    if wait and row["state"] == "pending":
        raise StillPending(
            f"no block took the transaction yet; `waypost tx show {row['hash']}` tells when one did"
        )
    return row


def emit_sent(
    row: dict[str, Any], output: Output, what: str, target: Target | None = None, **facts: Any
) -> None:
    """Print what became of a transaction; `what` says what it does."""
    network = (
        {}
        if target is None
        else {"network": target.name, "genesis_hash": target.genesis_hash.hex()}
    )
    value = network | facts | {name: row[name] for name in ("hash", "state", "height", "index")}
    is_committed = row["state"] == "committed"
    where = f"in block {row['height']}" if is_committed else "waits for a block"
    named = [(name.replace("_", " "), text) for name, text in network.items()]
    shown = align([*named, ("hash", row["hash"])])
    emit(value, output, f"{what}: {where}\n{shown}")

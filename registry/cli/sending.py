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

from ledger.errors import Refusal, WaypostError
from registry.amounts import format_amount
from registry.cli.http import (
    Account,
    BadAnswer,
    Count,
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
    """Return the network of a service. Raises `ServiceError`.

    Raises `WrongNetwork` if a genesis file says otherwise, and `BadAnswer` for parameters that no
    network can have: the fee that is signed is one of them.
    """
    from ledger.crypto import sha256

    network = convert(service.get("/v1/network"), Network)
    raw = service.get_bytes("/v1/genesis") if genesis is None else genesis.read_bytes()
    if sha256(raw).hex() != network.genesis_hash:
        if genesis is None:
            raise BadAnswer(f"{service.url} names one genesis and gives another")
        raise WrongNetwork(
            f"{service.url} serves the network {network.chain} with the genesis "
            f"{network.genesis_hash}, {genesis} is {sha256(raw).hex()}"
        )
    rules = convert(service.get("/v1/rules"), Rules)
    try:
        name, params = _read_rules(raw, rules)
    except Refusal as refusal:
        raise BadAnswer(f"{service.url} names rules that no network has: {refusal}") from None
    if int(network.minimum_fee) != params.minimum_fee:
        raise BadAnswer(
            f"{service.url} asks for a fee of {format_amount(int(network.minimum_fee))}, the rules "
            f"for {format_amount(params.minimum_fee)}: ask again if they have just changed"
        )
    return Target(
        name, sha256(raw), params, network.height, network.time_ms, int(network.minimum_fee)
    )


def _read_rules(genesis: bytes, rules: Rules) -> tuple[str, "Params"]:
    """Return a network's name and the parameters in force. Raises `Refusal`."""
    from ledger.genesis import load_genesis
    from ledger.params import Params, validate_params

    parsed = load_genesis(genesis)
    in_force = {row.name: int(row.value) for row in rules.parameters if row.name in Params._fields}
    params = Params(*parsed.params)._replace(**in_force)
    return parsed.name.decode(), validate_params(params)


def send_paid(
    service: Service,
    target: Target,
    seed: bytes,
    make: Callable[["Wallet", "Terms"], bytes],
    wait: bool,
) -> dict[str, Any]:
    """Send the transaction that `make` signs with a seed's account.

    Returns what became of it, with the `fee` that it paid.
    """
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
            return send(service, raw, wait) | {"fee": str(terms.fee)}
        except Refused as refused:
            expected = get_expected_nonce(refused)
            if expected is None or expected <= terms.nonce:
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


def get_expected_nonce(refused: Refused) -> int | None:
    """Return the nonce that would be taken; None if that is not what was wrong."""
    if refused.code != "nonce_used" or "expected" not in refused.values:
        return None
    return convert(refused.values["expected"], Count)


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
    """Print what became of a transaction; `what` says what it does. A `fee` is in atomic units."""
    network = (
        {}
        if target is None
        else {"network": target.name, "genesis_hash": target.genesis_hash.hex()}
    )
    paid = {"fee": row["fee"]} if "fee" in row else {}
    sent = {name: row[name] for name in ("hash", "state", "height", "index")}
    value = network | facts | paid | sent
    is_committed = row["state"] == "committed"
    where = f"in block {row['height']}" if is_committed else "waits for a block"
    named = [(name.replace("_", " "), text) for name, text in network.items()]
    named += [("fee", format_amount(int(fee))) for fee in paid.values()]
    shown = align([*named, ("hash", row["hash"])])
    emit(value, output, f"{what}: {where}\n{shown}")

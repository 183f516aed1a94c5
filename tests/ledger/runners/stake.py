"""The runners of `register`, `contribute` and `withdraw`."""

from typing import Any

from msgspec.structs import replace

from ledger.crypto import convert_to_x25519
from ledger.messages.state import AWAITING, Chainlink, Contribution, KeyHistory
from ledger.messages.tables import CHAINLINKS, CONTACTS, HISTORIES, NODES
from ledger.nodes import new_node
from tests.factory import Network, make_registration, public
from tests.ledger.effects import Sheet, expect_applied
from tests.ledger.runners.keys import bind


def run_register(network: Network, node: str, operator: str, stake: int, **changed: Any) -> None:
    """`register`: node, history, contact data, a binding for each key, a hash chain."""
    sheet = Sheet(network)
    registration = make_registration(node, operator, **changed)
    key = public(node)
    sheet.pay(operator, stake)
    history = sheet.get(HISTORIES, key) or KeyHistory(0, 0, 0)
    sheet.put(HISTORIES, key, replace(history, life=history.life + 1))
    sheet.put(CONTACTS, key, registration.contact)
    bind(sheet, key, registration.duty_key, registration.list_key, registration.consensus_key)
    if registration.list_key and sheet.get(CHAINLINKS, registration.list_key) is None:
        sheet.put(CHAINLINKS, registration.list_key, Chainlink(registration.list_tip, 0))
    requirement = network.params.staking_requirement
    contribution = Contribution(public(operator), registration.beneficiary, stake, 0)
    record = new_node(
        life=history.life + 1,
        state=AWAITING,
        since_ms=sheet.time_ms,
        since_height=sheet.height,
        registered_height=sheet.height,
        operator=public(operator),
        fee=registration.fee,
        requirement=requirement,
        contributions=(contribution,),
        reserved=registration.reserved,
        duty_key=registration.duty_key,
        list_key=registration.list_key,
        list_tip=registration.list_tip,
        consensus_key=registration.consensus_key,
        x25519=convert_to_x25519(key),
    )
    sheet.put(NODES, key, record)
    sheet.queue_if_funded(node)
    expect_applied(network, sheet, network.register(node, operator, stake, **changed))


def run_contribute(network: Network, who: str, amount: int, node: str = "node") -> None:
    """`contribute`: stake is added, the reserved place that it takes is closed, or all lapsed."""
    sheet = Sheet(network)
    sheet.pay(who, amount)
    record = sheet.get(NODES, public(node))
    added = Contribution(public(who), public(who), amount, 0)
    is_kept = sheet.time_ms < record.since_ms + network.params.reservation_ms
    kept = tuple(p for p in record.reserved if is_kept and p.account != public(who))
    changed = replace(record, contributions=(*record.contributions, added), reserved=kept)
    sheet.put(NODES, public(node), changed)
    sheet.queue_if_funded(node)
    expect_applied(network, sheet, network.contribute(who, amount, node))


def run_withdraw(network: Network, who: str, node: str = "node") -> None:
    """`withdraw`: the whole stake comes back."""
    sheet = Sheet(network)
    record = sheet.get(NODES, public(node))
    own = [c for c in record.contributions if c.account == public(who)]
    kept = tuple(c for c in record.contributions if c.account != public(who))
    sheet.pay(who, 0)
    sheet.move(who, own[0].amount)
    sheet.put(NODES, public(node), replace(record, contributions=kept))
    expect_applied(network, sheet, network.withdraw(who, node))

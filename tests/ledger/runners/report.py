"""The runners of `report` and of what a BFT engine finds; what an offence costs, and whom."""

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.history import PenaltyRow
from ledger.messages.evidence import ListEquivocation, Misbehaviour, VoteEquivocation
from ledger.messages.lists import decode_header
from ledger.messages.state import AWAITING, DEREGISTERED, EXITED, TOMBSTONED, Node, Punished
from ledger.messages.tables import BINDINGS, HISTORIES, NODES, PARAMS, PUNISHED, STARTS
from ledger.params import Params
from tests.factory import FEE, Network, public
from tests.ledger.effects import Sheet, expect_applied, expect_changes
from tests.ledger.runners.leave import leave
from tests.ledger.runners.rewards import close_period
from tests.life import report

VOTE, LIST, BLOCK = 1, 2, 3
"""Numbers of the offences."""

FIRST_PIECE = 2**32 - 1
"""Index of the first piece that an engine gave; the next ones count down."""


def run_report(network: Network, who: str, evidence: Record) -> Node | None:
    """`report`: the offender is punished, the sender has his fee back and gets the bounty.

    Returns the node that was punished, as it is afterwards.
    """
    sheet = Sheet(network)
    sheet.pay(who, 0)
    if isinstance(evidence, VoteEquivocation):
        offence, key, epoch = VOTE, evidence.duty_key, evidence.epoch
    else:
        assert isinstance(evidence, ListEquivocation)
        offence, key = LIST, evidence.list_key
        epoch = decode_header(evidence.first).epoch
    row = punish(sheet, offence, key, epoch, who)
    sheet.fill_pool(-FEE)
    sheet.move(who, FEE)
    sheet.keep(b"R", sheet.height.to_bytes(8, "big") + bytes(4), row)
    expect_applied(network, sheet, report(network, who, evidence))
    node: Node | None = sheet.get(NODES, row.node)
    return node


def run_misbehaviour(
    network: Network, *pieces: Misbehaviour | bytes, counted: tuple[int, ...] = (0,)
) -> None:
    """Misbehaviour in a block: the pieces at the places `counted` are punished, no others."""
    sheet = Sheet(network)
    for place in counted:
        piece = pieces[place]
        assert isinstance(piece, Misbehaviour)
        epoch = epoch_at(sheet, piece.time_ms)
        row = punish(sheet, BLOCK, piece.address, epoch, None)
        index = (FIRST_PIECE - place).to_bytes(4, "big")
        sheet.keep(b"R", sheet.height.to_bytes(8, "big") + index, row)
    raws = tuple(piece if isinstance(piece, bytes) else encode(piece) for piece in pieces)
    executed = network.block(misbehaviour=raws)
    expect_changes(network, sheet, executed.root)


def piece(name: str, network: Network, ago_ms: int = 0) -> Misbehaviour:
    """An engine's word on the consensus key of a name, at the newest block or so long before."""
    tip = network.chain.tip
    address = sha256(public(f"{name} consensus"))[:20]
    return Misbehaviour(address, max(1, tip.height), tip.time_ms - ago_ms)


def epoch_at(sheet: Sheet, time_ms: int) -> int:
    """The epoch to which a block of this time belongs."""
    starts = {
        int.from_bytes(key[1:], "big"): row.start_ms  # type: ignore[attr-defined]
        for key, row in sheet.before.items()
        if key[:1] == STARTS.letter
    }
    # the first block may have the time of genesis
    return max((epoch for epoch, start_ms in starts.items() if start_ms < time_ms), default=0)


# --------------------------------------------------------------------------- what it costs


def punish(sheet: Sheet, offence: int, key: bytes, epoch: int, reporter: str | None) -> PenaltyRow:
    """The offender has to have paid, and to leave if that is what it costs."""
    node = sheet.get(BINDINGS, key).node
    record = sheet.get(NODES, node)
    is_liable = record is not None and record.state != AWAITING and record.liable_from <= epoch
    if is_liable and offence == VOTE and key != record.duty_key:
        # votes of a key that the node had changed then are void
        is_liable = epoch < record.keys_epoch
    history = sheet.get(HISTORIES, node)
    params = Params(*sheet.get(PARAMS).values)
    had_tombstone = history is not None and history.tombstoned == 1
    penalty = cost_of(record, offence, params, had_tombstone) if is_liable else 0
    place = key + epoch.to_bytes(8, "big")
    assert sheet.get(PUNISHED, place) is None
    sheet.put(PUNISHED, place, Punished(offence, sheet.height, penalty))
    mark = node + epoch.to_bytes(8, "big")
    if history is None and sheet.get(PUNISHED, mark) is None:
        # a key without a node: what it loses is the seat of its list key
        sheet.put(PUNISHED, mark, Punished(offence, sheet.height, 0))
    if offence != VOTE and history is not None and (is_liable or record is None):
        sheet.put(HISTORIES, node, replace(history, tombstoned=1))
    if not is_liable:
        return PenaltyRow(offence, node, epoch, 0, 0)
    close_period(sheet, node)
    bounty = take(sheet, node, penalty, reporter, params)
    slash_state(sheet, node, offence, params)
    return PenaltyRow(offence, node, epoch, penalty, bounty)


def cost_of(record: Node, offence: int, params: Params, had_tombstone: bool) -> int:
    """A part of the stake as it was before any penalty; never more than is left of it.

    Votes cost each time, until the node has to leave for it; what brings a tombstone, and all
    after it, costs only what is missing to it.
    """
    left = sum(row.amount for row in record.contributions)
    share = {VOTE: params.vote_penalty, LIST: params.list_penalty, BLOCK: params.block_penalty}
    whole = (left + record.taken) * share[offence] // 10_000
    if offence == VOTE and is_low(record, params):
        return 0
    if offence != VOTE or had_tombstone:
        whole = max(0, whole - record.taken)
    return min(whole, left)


def take(sheet: Sheet, node: bytes, penalty: int, reporter: str | None, params: Params) -> int:
    """The operator pays first, then the others in proportion, then one unit each in their order.

    Returns what the reporter gets: a part of what the operator's own stake lost.
    """
    record = sheet.get(NODES, node)
    amounts = [row.amount for row in record.contributions]
    own = min(amounts[0], penalty)
    rest, others = penalty - own, sum(amounts[1:])
    lost = [own, *(rest * amount // others if others else 0 for amount in amounts[1:])]
    for at in range(1, len(amounts)):
        if sum(lost) < penalty and lost[at] < amounts[at]:
            lost[at] += 1
    assert sum(lost) == penalty
    rows = tuple(
        replace(row, amount=amount - part)
        for row, amount, part in zip(record.contributions, amounts, lost, strict=True)
    )
    sheet.put(NODES, node, replace(record, contributions=rows, taken=record.taken + penalty))
    bounty = 0
    if reporter is not None:
        bounty = min(own * params.bounty_share // 10_000, params.bounty_cap)
        sheet.move(reporter, bounty)
    sheet.fill_pool(penalty - bounty)
    return bounty


def slash_state(sheet: Sheet, node: bytes, offence: int, params: Params) -> None:
    """Who is tombstoned leaves at once; who keeps too little stake leaves in his turn."""
    record = sheet.get(NODES, node)
    if record.state in (EXITED, DEREGISTERED, TOMBSTONED):
        return
    if offence != VOTE or is_low(record, params):
        leave(sheet, node, at_once=offence != VOTE)


def is_low(record: Node, params: Params) -> bool:
    """Penalties took so much of the stake that the node cannot stay."""
    left = sum(row.amount for row in record.contributions)
    return record.taken > 0 and left * 10_000 < (left + record.taken) * params.stake_floor

"""The shapes of answers about offences and rules, as `registry.api.models` has all the others."""

from registry.api.models import (
    ACCOUNT,
    EPOCH,
    HASH,
    HEIGHT,
    KEY,
    NODE,
    TIME_MS,
    Shape,
    TransactionState,
    nested,
    shown,
)


class Penalty(Shape):
    """What an offence costs whom."""

    offence: str = shown("What was done.", "name", "vote_equivocation")
    key: str = shown("The key that did it; of a validator its address.", "hex", KEY)
    role: str = shown("What that key is for.", "name", "duty")
    node: str | None = shown("The node that has this key; null if none has.", "address", NODE)
    epoch: int = shown("When it was done.", "epoch", EPOCH)
    taken: str = shown("What it costs the node's stake.", "atomic units", "1000000000")
    bounty: str = shown("What the reporter gets of that.", "atomic units", "50000000")
    tombstones: bool = shown("Whether the node never returns.", "yes or no", False)


class Report(Shape):
    """One offence that was proven and punished, with its evidence."""

    height: int = shown("Block that punished it.", "height", HEIGHT)
    index: int = shown(
        "Place of the report in it; counted down from 2^32 − 1 for what the engine found.",
        "index",
        0,
    )
    time_ms: int = shown("Time of that block.", "ms since 1970", TIME_MS)
    penalty: Penalty = nested("What it cost.")
    reporter: str | None = shown("Who reported it; null for the engine.", "address", ACCOUNT)
    transaction: str | None = shown("Hash of the report; null for the engine.", "hex", HASH)
    evidence: str = shown("The file that `waypost report check` takes.", "hex", "9201c400")


class ReportPage(Shape):
    """Some reports, the newest first, all from one height."""

    height: int = shown("The height that all pages are from.", "height", HEIGHT)
    reports: list[Report] = nested("The reports of this page.")
    next: str | None = shown("Cursor of the next page; null at the end.", "cursor", "AAAAAAAAIcA")


class SubmittedReport(Shape):
    """What became of a report that was sent."""

    hash: str = shown("SHA-256 of the transaction.", "hex", HASH)
    state: TransactionState = shown("What became of it.", "name", "committed")
    report: Report | None = nested("What was done; null until it stands in a block here.")


class ParameterValue(Shape):
    """A parameter of the network."""

    name: str = shown("Its name.", "name", "minimum_fee")
    unit: str = shown("The unit of its values.", "unit", "atomic units")
    value: str = shown("Its value in force.", "as `unit` says", "1000000")
    next: str | None = shown("The value announced; null without.", "as `unit` says", None)


class SetSeat(Shape):
    """A seat of an attestor set."""

    index: int = shown("Place in the set, by ascending key.", "index", 0)
    list_key: str = shown("The key that signs lists.", "hex", KEY)
    weight: int = shown("Voting weight.", "weight", 1)


class Rules(Shape):
    """The rules that orders change: those in force, those announced, and what follows."""

    time_ms: int = shown("Time of the newest block.", "ms since 1970", TIME_MS)
    epoch: int = shown("The epoch that runs.", "epoch", EPOCH + 1)
    parameters: list[ParameterValue] = nested("Every parameter, in the order of their table.")
    parameters_from_ms: int | None = shown(
        "From when on the values announced are in force; null without.", "ms since 1970", None
    )
    parameters_earliest_ms: int = shown(
        "From when on those of an order made now could be.",
        "ms since 1970",
        TIME_MS + 1_296_000_000,
    )
    attestors: list[SetSeat] = nested("The set that signs the newest header.")
    next_attestors: list[SetSeat] = nested("The set that takes over once that header is final.")
    ordered: list[SetSeat] = nested("The set that was ordered and is not announced; may be empty.")
    ordered_by: str | None = shown(
        "Whose order that is: `attestors` or `recovery`; null without.", "name", None
    )
    ordered_begin: int | None = shown(
        "From when on it may be announced, or the epoch of a recovery; null without.",
        "ms since 1970 or epoch",
        None,
    )
    attestors_earliest_ms: int = shown(
        "From when on another set could be announced.", "ms since 1970", TIME_MS
    )
    recovery: list[str] = shown("The recovery keys, by ascending key.", "hex", [KEY])
    successor: str | None = shown(
        "Hash of the genesis file that this network is to go on with; null without.", "hex", None
    )
    successor_from_ms: int | None = shown(
        "From when on headers name it; null without.", "ms since 1970", None
    )
    successor_earliest_ms: int = shown(
        "From when on headers could name that of an order made now.",
        "ms since 1970",
        TIME_MS + 2_592_000_000,
    )
    has_moved: bool = shown(
        "Whether the newest header names it: nothing but attestations is taken then.",
        "yes or no",
        False,
    )
    last_epoch: int | None = shown(
        "Epoch of the last header of this network, once that is final; null before.", "epoch", None
    )

"""What is new in a round: the conditions that hold, against what was told. No clock, no I/O.

- What was told is not told again while it lasts, but where its row wants a reminder.
- What is over is told once. What cannot be looked at now, because no service answers, is not over.
- A message and the note that it was told are made together, and kept together.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from ledger.crypto import sha256
from registry.warnings.cases import Case, Finding, NodeCase, ServiceCase
from registry.warnings.messages import Kind, Message, Proof
from registry.warnings.table import ROW_OF, Row, rows_of

PAGE: Final = "/nodes/"
"""What leads to the page of a node, behind the URL of an explorer."""


class Told(msgspec.Struct, frozen=True):
    """That a warning was told."""

    warning: str
    subject: str
    key: str
    told_ms: int
    """When it was told last."""
    over_ms: int | None = None
    """When it was over; None while it lasts."""


class Due(NamedTuple):
    """That a warning is due now."""

    row: Row
    subject: str
    finding: Finding
    proof: Proof

    @property
    def place(self) -> tuple[str, str]:
        """What of its kind there is one of at a time, but for its occurrences."""
        return self.row.name, self.subject


class Looked(NamedTuple):
    """What a look at some cases found."""

    due: tuple[Due, ...]
    """In the order of the cases and of the table."""
    endings: dict[tuple[str, str], str]
    """What to say of what is over, of each row and subject that was looked at; nothing where one of
    its occurrences is due."""


class News(NamedTuple):
    """What follows from a round."""

    messages: tuple[Message, ...]
    told: tuple[Told, ...]


class Place(NamedTuple):
    """Where and when a round is."""

    now_ms: int
    chain: str
    page: str
    """URL of an explorer, without a slash at its end."""


def subject_of(case: Case) -> str:
    """Return what a case is about: a node's address, a service's URL, or nothing."""
    if isinstance(case, NodeCase):
        return case.address
    return case.url if isinstance(case, ServiceCase) else ""


def look(cases: Iterable[Case]) -> Looked:
    """Try every row on the cases of its scope."""
    due: list[Due] = []
    endings: dict[tuple[str, str], str] = {}
    for case in cases:
        subject = subject_of(case)
        for row in rows_of(case):
            finding = row.find(case)
            if finding is None:
                endings[row.name, subject] = row.tell_over(case)
            else:
                endings[row.name, subject] = ""
                due.append(Due(row, subject, finding, _tell_proof(row, case)))
    return Looked(tuple(due), endings)


def _tell_proof(row: Row, case: Case) -> Proof:
    if not isinstance(case, NodeCase) or not case.proves or not row.is_state:
        return "unchecked"
    return "proven" if case.is_proven else "waits"


def compare(looked: Looked, told: Sequence[Told], place: Place) -> News:
    """Return what has to be told now, and what was told then."""
    kept: dict[tuple[str, str, str], Told] = {
        (row.warning, row.subject, row.key): row for row in told if row.warning in ROW_OF
    }
    messages: list[Message] = []
    holding = {(*due.place, due.finding.key) for due in looked.due}
    for known, row in list(kept.items()):
        where = known[:2]
        if row.over_ms is not None or known in holding or where not in looked.endings:
            continue
        kept[known] = msgspec.structs.replace(row, over_ms=place.now_ms)
        ending = looked.endings[where]
        if ending:
            messages.append(_make_ending(kept[known], ending, place))
    for due in looked.due:
        kind = _choose_kind(due, kept, place.now_ms)
        if kind is not None:
            known = (*due.place, due.finding.key)
            kept[known] = Told(*known, told_ms=place.now_ms)
            messages.append(_make_message(due, kind, place))
    rows = tuple(row for row in kept.values() if not _is_forgotten(row, place.now_ms))
    return News(tuple(messages), rows)


def _choose_kind(due: Due, kept: dict[tuple[str, str, str], Told], now_ms: int) -> Kind | None:
    """Return as what a warning that is due is told now; None if it is not."""
    before = kept.get((*due.place, due.finding.key))
    if before is not None and before.over_ms is None:
        wait_ms = due.row.reminder_ms
        return "reminder" if wait_ms and now_ms - before.told_ms >= wait_ms else None
    newest = max(
        (row.told_ms for known, row in kept.items() if known[:2] == due.place),
        default=None,
    )
    is_quiet = newest is not None and now_ms - newest < due.row.quiet_ms
    return None if is_quiet else "new"


def _is_forgotten(row: Told, now_ms: int) -> bool:
    """Whether nothing depends any more on what was over."""
    return row.over_ms is not None and now_ms - row.told_ms >= ROW_OF[row.warning].quiet_ms


def _make_message(due: Due, kind: Kind, place: Place) -> Message:
    finding = due.finding
    return Message(
        id=_make_id(*due.place, finding.key, kind, place.now_ms),
        kind=kind,
        warning=due.row.name,
        severity=due.row.severity,
        chain=place.chain,
        subject=due.subject,
        time_ms=place.now_ms,
        reason=finding.reason,
        left_ms=finding.left_ms,
        next_step=finding.next_step,
        link=_link(due.subject, place),
        proof=due.proof,
    )


def _make_ending(row: Told, text: str, place: Place) -> Message:
    return Message(
        id=_make_id(row.warning, row.subject, row.key, "over", place.now_ms),
        kind="over",
        warning=row.warning,
        severity="info",
        chain=place.chain,
        subject=row.subject,
        time_ms=place.now_ms,
        reason=text,
        left_ms=None,
        next_step="nothing",
        link=_link(row.subject, place),
        proof="unchecked",
    )


def _make_id(*parts: object) -> str:
    return sha256("\n".join(map(str, parts)).encode()).hex()[:32]


def _link(subject: str, place: Place) -> str | None:
    return f"{place.page}{PAGE}{subject}" if subject.startswith("wpn1") else None

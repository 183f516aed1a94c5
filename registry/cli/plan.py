"""What the wizard shows before anything is signed and before anything is sent: two summaries."""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from registry.amounts import format_amount, format_share, format_span, format_time
from registry.cli.findings import Finding, format_findings
from registry.cli.offline import format_transaction
from registry.cli.output import align
from registry.cli.steps import STEPS, Setup, show_address, show_amount, show_answer

if TYPE_CHECKING:
    from ledger.transactions.envelope import Transaction

FLAGS: Final = {"attests": "--attests", "validates": "--validates"}
"""Options of `waypost node register`, by the seat."""


def format_choices(setup: Setup, findings: Sequence[Finding]) -> str:
    """Return the first summary: what was chosen, what it costs, and what follows."""
    names = [(f"{place:2}  {step.name}", show_answer(step, setup.answers)) for place, step in
             enumerate(STEPS, 1)]  # fmt: skip
    return "\n".join(
        [
            "What you chose",
            align(names),
            "",
            "What was looked at",
            format_findings(findings),
            "",
            "What it costs",
            align(list(_list_costs(setup))),
            "",
            "What follows",
            *(f"- {line}" for line in _tell_future(setup)),
            "",
            "The same in one command, which asks nothing",
            compose_command(setup),
        ]
    )


def _list_costs(setup: Setup) -> Iterator[tuple[str, str]]:
    stake, fee = setup.answers.stake or 0, setup.network.minimum_fee
    yield "stake", f"{format_amount(stake)}, locked; it comes back after the node has left"
    yield "fee", f"{format_amount(fee)}, gone"
    yield "left", f"{format_amount(setup.balance - stake - fee)} in the operator's account"


def _tell_future(setup: Setup) -> Iterator[str]:
    """Yield what happens then, step by step, with the figures of the network."""
    from ledger.rules.stakes import compute_open, minimum_contribution

    params, answers = setup.network.params, setup.answers
    amounts = tuple(share.amount for share in answers.reserve)
    kept, places = sum(amounts), params.max_contributors - 1
    free = compute_open(params.staking_requirement, answers.stake or 0, places, amounts)
    if kept:
        yield (
            f"{format_amount(kept)} are kept for those named, for "
            f"{format_span(params.reservation_ms)}, then open like the rest"
        )
    if free.amount > 0:
        least = format_amount(minimum_contribution(free))
        yield (
            f"the node waits for {format_amount(free.amount)} of up to {free.places} contributors, "
            f"each with {least} at least; `waypost node unlock` gives it up until it is active"
        )
    test = ", and one passed test at its address" if params.activation_verdict else ""
    yield f"fully funded, it waits for its turn{test}: start its agent before that"
    yield f"it earns from {format_span(params.payable_ms)} after its first activation"
    if setup.summary is not None and setup.summary.earning:
        paid = _epoch_pay(int(setup.summary.pool), setup)
        yield (
            f"an epoch of {format_span(params.epoch_ms)} pays about {format_amount(paid)} to each "
            f"of the {setup.summary.earning} nodes that earn now; "
            f"{format_share(answers.fee)} of it is your fee"
        )
    yield (
        f"if testers fail it in two epochs running it is taken off duty; it has "
        f"{format_span(params.credit_start_ms)} of credit for that at first"
    )
    yield (
        f"after `waypost node unlock` and the end of its duty the stake is paid out "
        f"{format_span(params.unbonding_ms)} later"
    )


def _epoch_pay(pool: int, setup: Setup) -> int:
    from ledger.rules.rewards import epoch_share

    params = setup.network.params
    earning = setup.summary.earning if setup.summary is not None else 0
    return epoch_share(pool, params.reward_rate, params.epoch_ms, earning, 0)


def compose_command(setup: Setup) -> str:
    """Return the command that does the same, without a question but for passphrases."""
    answers = setup.answers
    words = ["waypost", "node", "register", "--url", answers.url]
    words += ["--operator", str(answers.operator), "--node", str(answers.node)]
    words += [] if setup.genesis is None else ["--genesis", str(setup.genesis)]
    for name in ("ipv4", "ipv6"):
        if getattr(answers, name):
            words += [f"--{name}", show_address(getattr(answers, name))]
    for name in ("storage_port", "router_port", "fee"):
        words += [f"--{name.replace('_', '-')}", str(getattr(answers, name))]
    for name in ("storage_version", "router_version"):
        words += [f"--{name.replace('_', '-')}", ".".join(map(str, getattr(answers, name)))]
    words += ["--stake", show_amount(answers.stake or 0)]
    for step in STEPS:
        if step.name == "reserve" and answers.reserve:
            words += [word for part in step.show(answers).split() for word in ("--reserve", part)]
    words += [FLAGS[answers.seat]] if answers.seat in FLAGS else []
    return shlex.join(words)


def format_exact(tx: "Transaction", facts: dict[str, Any], setup: Setup) -> str:
    """Return the second summary: the very transaction that would be sent."""
    blocks = tx.expiry - setup.network.height
    until = setup.network.time_ms + blocks * setup.network.params.block_ms
    return "\n".join(
        [
            "What is signed now, and would be sent",
            align(
                [
                    ("network", f"{setup.network.name}, {setup.network.genesis_hash.hex()}"),
                    *format_transaction(facts),
                    ("until", f"about {format_time(until)}, if no block takes it before"),
                    ("size", f"{len(tx.raw)} bytes"),
                    ("hash", tx.hash.hex()),
                ]
            ),
        ]
    )

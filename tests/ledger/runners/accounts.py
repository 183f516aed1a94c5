"""The runner of `transfer`."""

from tests.factory import FEE, Network
from tests.ledger.effects import Sheet, expect_applied


def run_transfer(network: Network, sender: str, to: str, amount: int, fee: int = FEE) -> None:
    """`transfer`: coins move, the recipient comes into being."""
    sheet = Sheet(network)
    sheet.pay(sender, amount, fee)
    sheet.move(to, amount)
    expect_applied(network, sheet, network.transfer(sender, to, amount, fee=fee))

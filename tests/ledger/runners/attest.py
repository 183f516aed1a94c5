"""The runner of `attest`."""

from ledger.crypto import sha256
from ledger.messages.state import Attestation, Chainlink
from ledger.messages.tables import ATTESTATIONS, CHAINLINKS, SETS
from tests.factory import Network
from tests.ledger.effects import Sheet, expect_applied


def run_attest(network: Network, index: int) -> None:
    """`attest`: signature and reveal are kept, the hash chain goes on by one link."""
    network.attesting = False
    sheet = Sheet(network)
    raw = network.attest(index)
    body = network.chain.decode(raw).body
    seat = sheet.get(SETS).current[index].list_key
    link = sheet.get(CHAINLINKS, seat)
    assert sha256(body.reveal) == link.value
    sheet.put(CHAINLINKS, seat, Chainlink(body.reveal, link.accepted + 1))
    sheet.put(ATTESTATIONS, bytes([index]), Attestation(body.reveal, body.signature))
    expect_applied(network, sheet, raw)

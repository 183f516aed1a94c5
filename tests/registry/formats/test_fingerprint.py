"""Fingerprints: words that two people can compare."""

from hashlib import sha256

from mnemonic import Mnemonic

from ledger.messages.lists import fingerprint_bits
from registry.formats.fingerprint import fingerprint_words
from tests.registry.client.factory import EPOCH, make_genesis, make_list

NETWORK = sha256(make_genesis()).digest()


def test_twelve_words_stand_for_128_bits() -> None:
    header = make_list().raw_header
    words = fingerprint_words(NETWORK, header)
    assert len(words) == 12
    bits = Mnemonic("english").to_entropy(words)
    assert bytes(bits) == fingerprint_bits(NETWORK, header)


def test_another_header_or_network_has_other_words() -> None:
    header, other = make_list().raw_header, make_list(EPOCH + 1).raw_header
    elsewhere = sha256(make_genesis((1,))).digest()
    seen = {
        " ".join(fingerprint_words(*pair))
        for pair in ((NETWORK, header), (NETWORK, other), (elsewhere, header))
    }
    assert len(seen) == 3
    assert fingerprint_words(NETWORK, header) == fingerprint_words(NETWORK, header)

"""Hashes and signatures: known answers, and what the library must refuse."""

import pytest

from ledger import crypto
from ledger.crypto import Signed, is_public_key, key_pair, sha256, sign, signing_bytes, verify
from ledger.messages import tags
from tests.ledger.refusals.envelope import ORDER, SMALL_ORDER

# RFC 8032, section 7.1
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_known_answers(seed: str, public: str, message: str, signature: str) -> None:
    pair = key_pair(bytes.fromhex(seed))
    assert pair.public.hex() == public
    assert sign(pair, bytes.fromhex(message)).hex() == signature
    assert verify(Signed(pair.public, bytes.fromhex(message), bytes.fromhex(signature)))


def test_anything_else_is_refused() -> None:
    pair = key_pair(bytes(32))
    good = Signed(pair.public, b"message", sign(pair, b"message"))
    number = int.from_bytes(good.signature[32:], "little") + ORDER
    refused = [
        good._replace(message=b"messagf"),
        good._replace(message=b""),
        good._replace(key=key_pair(bytes([1]) * 32).public),
        good._replace(key=b""),
        good._replace(key=pair.public[:31]),
        good._replace(signature=b""),
        good._replace(signature=good.signature[:63]),
        good._replace(signature=good.signature + b"\0"),
        good._replace(signature=bytes(64)),
        good._replace(signature=good.signature[:32] + number.to_bytes(32, "little")),
    ]
    assert crypto.verify_all([good, *refused]) == [True] + [False] * len(refused)


@pytest.mark.parametrize("name", SMALL_ORDER)
def test_keys_that_nobody_has(name: str) -> None:
    key = SMALL_ORDER[name]
    assert not is_public_key(key)
    # R = key, S = 0 satisfies the plain equation for a key of small order
    assert not verify(Signed(key, b"message", key + bytes(32)))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_have_32_bytes(size: int) -> None:
    assert not is_public_key(bytes([9]) * size)


def test_signing_bytes_bind_tag_and_network() -> None:
    made = signing_bytes(b"tag", b"g" * 32, b"payload")
    assert made == b"tag" + bytes(29) + b"g" * 32 + b"payload"


def test_tags_are_for_one_use_each() -> None:
    values = [value for name, value in vars(tags).items() if name.isupper()]
    assert len(set(values)) == len(values)
    assert all(isinstance(value, bytes) and 0 < len(value) <= 32 for value in values)
    assert all(not value.endswith(b"\0") for value in values)
    # none is another one with zeros behind it
    assert len({value.ljust(32, b"\0") for value in values}) == len(values)


def test_tagged_hash() -> None:
    assert crypto.tagged_hash(b"tag", b"a", b"b") == sha256(b"tag" + bytes(29) + b"ab")


def test_a_key_pair_does_not_show_its_secret() -> None:
    pair = key_pair(bytes(range(32)))
    for text in (repr(pair), str(pair), f"{pair}", str([pair]), str({"pair": pair})):
        assert pair.secret.hex() not in text
        assert repr(pair.secret) not in text
        assert pair.public.hex() in text

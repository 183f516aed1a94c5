"""SLIP 10 on Ed25519, by the vectors that its page publishes."""

from typing import Final

import pytest

from ledger.crypto import key_pair
from registry.slip10 import derive_path, master_key

ONE: Final = "000102030405060708090a0b0c0d0e0f"
TWO: Final = (
    "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
    "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
)
LAST: Final = 2**31 - 1

VECTORS: Final[list[tuple[str, tuple[int, ...], str, str]]] = [
    (
        *(ONE, ()),
        "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
        "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
    ),
    (
        *(ONE, (0,)),
        "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
        "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
    ),
    (
        *(ONE, (0, 1)),
        "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
        "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
    ),
    (
        *(ONE, (0, 1, 2)),
        "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c",
        "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
    ),
    (
        *(ONE, (0, 1, 2, 2)),
        "8f6d87f93d750e0efccda017d662a1b31a266e4a6f5993b15f5c1f07f74dd5cc",
        "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662",
    ),
    (
        *(ONE, (0, 1, 2, 2, 1_000_000_000)),
        "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230",
        "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
    ),
    (
        *(TWO, ()),
        "ef70a74db9c3a5af931b5fe73ed8e1a53464133654fd55e7a66f8570b8e33c3b",
        "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012",
    ),
    (
        *(TWO, (0,)),
        "0b78a3226f915c082bf118f83618a618ab6dec793752624cbeb622acb562862d",
        "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635",
    ),
    (
        *(TWO, (0, LAST)),
        "138f0b2551bcafeca6ff2aa88ba8ed0ed8de070841f0c4ef0165df8181eaad7f",
        "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4",
    ),
    (
        *(TWO, (0, LAST, 1)),
        "73bd9fff1cfbde33a1b846c27085f711c0fe2d66fd32e139d3ebc28e5a4a6b90",
        "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c",
    ),
    (
        *(TWO, (0, LAST, 1, LAST - 1)),
        "0902fe8a29f9140480a00ef244bd183e8a13288e4412d8389d140aac1794825a",
        "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
    ),
    (
        *(TWO, (0, LAST, 1, LAST - 1, 2)),
        "5d70af781f3a37b829f0d060924d5e960bdc02e85423494afc0b1a41bbe196d4",
        "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
    ),
]


@pytest.mark.parametrize(("seed", "path", "chain_code", "key"), VECTORS)
def test_a_published_vector(seed: str, path: tuple[int, ...], chain_code: str, key: str) -> None:
    found = derive_path(master_key(bytes.fromhex(seed)), path)
    assert (found.chain_code.hex(), found.key.hex()) == (chain_code, key)


def test_the_public_key_is_that_of_the_published_vector() -> None:
    found = derive_path(master_key(bytes.fromhex(TWO)), (0, LAST))
    shown = key_pair(found.key).public.hex()
    assert shown == "5ba3b9ac6e90e83effcd25ac4e58a1365a9e35a3d3ae5eb07b9e4d90bcf7506d"


@pytest.mark.parametrize("index", [-(2**31) - 1, 2**31])
def test_an_index_that_there_is_not_is_no_other_one(index: int) -> None:
    with pytest.raises(OverflowError):
        derive_path(master_key(bytes(16)), (index,))


def test_a_secret_is_not_printed() -> None:
    found = master_key(bytes.fromhex(ONE))
    assert f"{found} {found!r} {[found]}" == "ExtendedKey(…) ExtendedKey(…) [ExtendedKey(…)]"

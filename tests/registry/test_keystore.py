"""Key files: one seed a holder, a key of its own for each role, for the eyes of one user."""

import hashlib
import json
from itertools import combinations
from pathlib import Path

import pytest

from ledger.crypto import Signed as Item
from ledger.crypto import is_public_key, sha256, sign, verify
from registry.keystore import (
    CHAIN,
    ROLES,
    BadKeyFile,
    derive,
    derive_secret,
    load_seed,
    named_seed,
    save_seed,
)

SEED = sha256(b"a seed")


def test_a_seed_comes_back(tmp_path: Path) -> None:
    save_seed(tmp_path / "keys" / "a.json", SEED)
    assert load_seed(tmp_path / "keys" / "a.json") == SEED


def test_a_key_file_is_for_one_user_and_says_that_it_is_not_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_seed(path, SEED)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "insecure" in path.read_text()


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_seed(path, SEED)
    with pytest.raises(BadKeyFile, match=r"a\.json exists already"):
        save_seed(path, sha256(b"another"))
    assert load_seed(path) == SEED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_key_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.json"
    save_seed(path, SEED)
    path.chmod(mode)
    with pytest.raises(BadKeyFile, match=r"a\.json can be read by others: chmod 600"):
        load_seed(path)


BAD_FILES = {
    "empty": b"",
    "no JSON": b"seed",
    "bytes that are no text": b"\xff\xfe",
    "a list": b"[]",
    "no seed": b"{}",
    "a seed that is no text": b'{"seed": 5}',
    "a seed that is no hex": json.dumps({"seed": "x" * 64}).encode(),
    "a short seed": json.dumps({"seed": "ab" * 31}).encode(),
    "a long seed": json.dumps({"seed": "ab" * 33}).encode(),
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_what_is_no_key_file_is_refused_by_its_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(BadKeyFile, match=r"a\.json") as caught:
        load_seed(path)
    assert "ab" * 31 not in str(caught.value)


def test_no_key_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match=r"no key file .*a\.json"):
        load_seed(tmp_path / "a.json")
    with pytest.raises(BadKeyFile, match="no key file that can be read"):
        load_seed(tmp_path)


def test_every_role_of_every_holder_has_a_key_of_its_own() -> None:
    seeds = [SEED, sha256(b"another"), *(named_seed(SEED, name) for name in ("a", "b", "node"))]
    keys = {(seed, role): derive(seed, role) for seed in seeds for role in ROLES}
    for one, two in combinations(keys.values(), 2):
        assert one.public != two.public
        assert one.secret != two.secret
    secrets = {derive_secret(seed, role) for seed in seeds for role in (*ROLES, CHAIN)}
    assert len(secrets) == len(seeds) * (len(ROLES) + 1)
    assert not secrets & {*seeds}


def test_a_derivation_never_changes() -> None:
    """Whoever changes it takes everybody's keys away."""
    for role in (*ROLES, CHAIN):
        preimage = b"waypost key".ljust(32, b"\0") + SEED + role.encode()
        assert derive_secret(SEED, role) == hashlib.sha256(preimage).digest()
    assert named_seed(SEED, "a") == hashlib.sha256(SEED + b"a").digest()
    account = "06e39c2108781227a8a35f85c58466ab0e8e74b63cfde4d7047d76094a502099"
    assert derive(bytes(32), "account").public.hex() == account


def test_derived_keys_sign() -> None:
    for role in ROLES:
        pair = derive(SEED, role)
        assert is_public_key(pair.public)
        assert verify(Item(pair.public, b"message", sign(pair, b"message")))


def test_a_key_does_not_print_its_secret() -> None:
    pair = derive(SEED, "account")
    shown = f"{pair} {pair!r} {[pair]}"
    assert pair.public.hex() in shown
    assert SEED.hex() not in shown
    assert derive_secret(SEED, "account").hex() not in shown
    assert repr(pair.secret)[2:20] not in shown

"""Key files: one seed a holder, a key of its own for each role, for the eyes of one user."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings
from nacl.exceptions import RuntimeError as NaClRuntimeError
from nacl.pwhash import argon2id

from ledger.crypto import Signed as Item
from ledger.crypto import is_public_key, sha256, sign, verify
from registry import keystore
from registry.addresses import encode_account, encode_node
from registry.keystore import (
    MAX_FILE_BYTES,
    MAX_MEMORY,
    MAX_OPERATIONS,
    MIN_MEMORY,
    MINIMUM,
    MODERATE,
    RECOVERY,
    ROLE_NUMBERS,
    ROLES,
    BadKeyFile,
    BadPassphrase,
    CannotOpen,
    Cost,
    change_passphrase,
    derive,
    derive_secret,
    describe,
    describe_file,
    encode_passphrase,
    load_seed,
    named_seed,
    open_key_file,
    parse_key_file,
    save_insecure_seed,
    save_seed,
    seal_key_file,
)

ROOT: Final = Path(__file__).resolve().parents[2]
SEED: Final = sha256(b"a seed")
OTHER: Final = sha256(b"another seed")
PASSPHRASE: Final = b"correct horse battery"

Save = Callable[[Path, bytes], None]


def save_encrypted(path: Path, seed: bytes) -> None:
    save_seed(path, seed, PASSPHRASE, MINIMUM)


@pytest.fixture(params=[save_encrypted, save_insecure_seed], ids=["encrypted", "insecure"])
def save(request: pytest.FixtureRequest) -> Save:
    chosen: Save = request.param
    return chosen


def encrypted(seed: bytes = SEED, passphrase: bytes = PASSPHRASE) -> bytes:
    return seal_key_file(seed, passphrase, MINIMUM, bytes(16), bytes(24))


def insecure() -> bytes:
    fields = {"waypost key": 2, "form": "insecure", "note": keystore.INSECURE, "seed": SEED.hex()}
    return json.dumps(fields, indent=1).encode() + b"\n"


# ------------------------------------------------------------------------------- files


def test_a_seed_comes_back(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "keys" / "a.json", SEED)
    assert load_seed(tmp_path / "keys" / "a.json", lambda: PASSPHRASE) == SEED


def test_only_an_encrypted_file_asks_for_a_passphrase(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask() -> bytes:
        asked.append("asked")
        return PASSPHRASE

    save_insecure_seed(tmp_path / "clear", SEED)
    assert load_seed(tmp_path / "clear", ask) == load_seed(tmp_path / "clear") == SEED
    assert asked == []
    save_encrypted(tmp_path / "encrypted", SEED)
    assert load_seed(tmp_path / "encrypted", ask) == SEED
    assert asked == ["asked"]
    with pytest.raises(
        BadKeyFile, match=r"encrypted: it is encrypted, and no passphrase was given"
    ):
        load_seed(tmp_path / "encrypted")
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "junk").chmod(0o600)
    with pytest.raises(BadKeyFile):
        load_seed(tmp_path / "junk", ask)
    assert asked == ["asked"]


def test_a_key_file_is_for_one_user(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "a.json"
    before = os.umask(0)
    try:
        save(path, SEED)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_clear_form_says_what_it_is(tmp_path: Path) -> None:
    save_insecure_seed(tmp_path / "clear", SEED)
    assert "insecure" in (tmp_path / "clear").read_text()
    assert (tmp_path / "clear").read_bytes() == insecure()
    save_encrypted(tmp_path / "encrypted", SEED)
    assert "insecure" not in (tmp_path / "encrypted").read_text()


def test_an_encrypted_file_holds_no_secret(tmp_path: Path) -> None:
    save_encrypted(tmp_path / "a.json", SEED)
    text = (tmp_path / "a.json").read_bytes()
    for secret in (SEED, *(derive_secret(SEED, role) for role in ROLE_NUMBERS)):
        assert secret not in text
        assert secret.hex().encode() not in text


def test_what_is_public_needs_no_passphrase(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a.json", SEED)
    roles, is_insecure = describe_file(tmp_path / "a.json")
    assert roles == describe(SEED)
    assert is_insecure == (save is save_insecure_seed)
    assert list(roles) == list(ROLES)
    assert roles["account"] == encode_account(derive(SEED, "account").public)
    assert roles["node"] == encode_node(derive(SEED, "node").public)
    assert roles["list"] == derive(SEED, "list").public.hex()


def test_a_key_file_is_never_overwritten(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "a.json"
    save(path, SEED)
    with pytest.raises(BadKeyFile, match=r"a\.json exists already"):
        save(path, OTHER)
    assert load_seed(path, lambda: PASSPHRASE) == SEED
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadKeyFile, match="exists already"):
        save(tmp_path / "link", OTHER)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "link"]


MAKE: Final = """
import sys
from pathlib import Path
from registry.keystore import MINIMUM, BadKeyFile, save_seed
path, seed = Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    save_seed(path, seed, b"a passphrase", MINIMUM)
    print("made")
except BadKeyFile as error:
    print(error)
"""


def test_of_several_that_make_one_file_at_once_one_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    seeds = [sha256(bytes([number])) for number in range(4)]
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(path), seed.hex()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in seeds
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    said = [maker.communicate()[0].strip() for maker in makers]
    (made,) = [seed for seed, text in zip(seeds, said, strict=True) if text == "made"]
    assert [text for text in said if text != "made"] == [
        f"{path} exists already: a key file is never overwritten"
    ] * 3
    assert load_seed(path, lambda: b"a passphrase") == made
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_that_comes_in_between_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    real_link = os.link

    def link_late(written: str, new: Path) -> None:
        path.write_text("mine")
        real_link(written, new)

    monkeypatch.setattr(os, "link", link_late)
    with pytest.raises(BadKeyFile, match="exists already"):
        save_encrypted(path, SEED)
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_name_of_a_new_file_lasts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder is written to the disk after the name stands in it."""
    names: list[list[str]] = []
    real_sync = os.fsync

    def sync(handle: int) -> None:
        names.append(os.listdir(tmp_path))
        real_sync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    save_encrypted(tmp_path / "a.json", SEED)
    assert names[-1] == ["a.json"]


def test_a_passphrase_is_changed_with_salt_and_nonce(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_encrypted(path, SEED)
    before = json.loads(path.read_text())
    change_passphrase(path, SEED, b"another passphrase", MINIMUM)
    after = json.loads(path.read_text())
    assert load_seed(path, lambda: b"another passphrase") == SEED
    with pytest.raises(CannotOpen):
        load_seed(path, lambda: PASSPHRASE)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"salt", "nonce", "sealed"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_link_to_a_key_file_stays_one(tmp_path: Path) -> None:
    save_encrypted(tmp_path / "real.json", SEED)
    (tmp_path / "link.json").symlink_to("real.json")
    change_passphrase(tmp_path / "link.json", SEED, b"another passphrase", MINIMUM)
    assert (tmp_path / "link.json").is_symlink()
    assert load_seed(tmp_path / "real.json", lambda: b"another passphrase") == SEED


def test_a_change_that_fails_leaves_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_encrypted(tmp_path / "a.json", SEED)

    def fail(*_arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        change_passphrase(tmp_path / "a.json", SEED, b"another passphrase", MINIMUM)
    assert load_seed(tmp_path / "a.json", lambda: PASSPHRASE) == SEED
    assert os.listdir(tmp_path) == ["a.json"]


def test_no_file_has_the_salt_or_the_nonce_of_another(tmp_path: Path) -> None:
    for number in range(8):
        save_encrypted(tmp_path / str(number), SEED)
    files = [json.loads((tmp_path / str(number)).read_text()) for number in range(8)]
    for name in ("salt", "nonce", "sealed"):
        assert len({file[name] for file in files}) == 8


def test_unasked_a_file_costs_what_libsodium_calls_moderate(tmp_path: Path) -> None:
    assert (argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE) == MODERATE
    assert (argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN) == MINIMUM
    save_seed(tmp_path / "a.json", SEED, PASSPHRASE)
    fields = json.loads((tmp_path / "a.json").read_text())
    assert (fields["operations"], fields["memory"]) == (3, 256 * 2**20)
    assert load_seed(tmp_path / "a.json", lambda: PASSPHRASE) == SEED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_key_file_that_others_reach_is_refused(tmp_path: Path, save: Save, mode: int) -> None:
    path = tmp_path / "a.json"
    save(path, SEED)
    path.chmod(mode)
    with pytest.raises(BadKeyFile, match=r"a\.json can be read by others: chmod 600"):
        load_seed(path, lambda: PASSPHRASE)
    with pytest.raises(BadKeyFile, match=r"a\.json can be read by others: chmod 600"):
        describe_file(path)


def test_no_key_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match=r"no key file .*a\.json"):
        load_seed(tmp_path / "a.json")
    with pytest.raises(BadKeyFile, match="no key file that can be read"):
        load_seed(tmp_path)
    with pytest.raises(BadKeyFile, match="no key file that can be read"):
        load_seed(tmp_path / "a\0b")
    # nobody writes into it: who waits for that waits for ever
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(BadKeyFile, match="no key file that can be read"):
        load_seed(tmp_path / "pipe")


# ------------------------------------------------------------------------------ refusals


def with_fields(raw: bytes, **changes: Any) -> bytes:
    """A file with other values in some fields, written as a file is; `None` leaves one out."""
    fields = json.loads(raw) | {name.replace("_", " "): value for name, value in changes.items()}
    kept = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(kept, indent=1).encode() + b"\n"


def with_public(**changes: Any) -> bytes:
    public = json.loads(encrypted())["public"] | changes
    kept = {name: value for name, value in public.items() if value is not None}
    return with_fields(encrypted(), public=kept)


def flipped(text: str) -> str:
    return ("1" if text[0] == "0" else "0") + text[1:]


HEX: Final = json.loads(encrypted())
VERSION_1: Final = json.dumps({"waypost key": 1, "note": "insecure", "seed": SEED.hex()}).encode()

REFUSED: Final = {
    "nothing": (b"", "not JSON"),
    "no JSON": (b"seed", "not JSON"),
    "bytes that are no text": (b"\xff\xfe", "not JSON"),
    "half a file": (encrypted()[:400], "not JSON"),
    "two files": (encrypted() * 2, "not JSON"),
    "a list": (b"[]", "Expected `object`"),
    "nested without end": (b"[" * 4_000, "no key file"),
    "nested without end in a field": (b'{"a":' + b"[" * 4_000, "not JSON"),
    "a number without end": (b'{"waypost key":' + b"9" * 4_000 + b"}", "no key file"),
    "no field": (b"{}", "missing required field `waypost key`"),
    "too long": (encrypted() + b" " * MAX_FILE_BYTES, "longer than 4096 bytes"),
    "version 1": (VERSION_1, "version 1, whose keys were derived otherwise: make a new one"),
    "version 3": (with_fields(encrypted(), waypost_key=3), "version 3: use a newer waypost"),
    "version 0": (with_fields(encrypted(), waypost_key=0), "version 0"),
    "a version below none": (with_fields(encrypted(), waypost_key=-1), "Expected `int` >= 0"),
    "a version that is no number": (with_fields(encrypted(), waypost_key="2"), "Expected `int`"),
    "a version that is a truth": (with_fields(encrypted(), waypost_key=True), "Expected `int`"),
    "no form": (with_fields(encrypted(), form=None), "neither encrypted nor insecure"),
    "another form": (with_fields(encrypted(), form="secure"), "neither encrypted nor insecure"),
    "the other form": (with_fields(encrypted(), form="insecure"), "unknown field `public`"),
    "the clear one as the other": (with_fields(insecure(), form="encrypted"), "unknown field"),
    "a field too many": (with_fields(encrypted(), colour="red"), "unknown field `colour`"),
    "a seed beside": (with_fields(encrypted(), seed=SEED.hex()), "unknown field `seed`"),
    **{
        f"no {name}": (with_fields(encrypted(), **{name: None}), f"missing required field `{name}`")
        for name in ("public", "operations", "memory", "salt", "nonce", "sealed")
    },
    **{
        f"a short {name}": (with_fields(encrypted(), **{name: HEX[name][2:]}), f"`$.{name}`")
        for name in ("salt", "nonce", "sealed")
    },
    **{
        f"a long {name}": (with_fields(encrypted(), **{name: HEX[name] + "00"}), f"`$.{name}`")
        for name in ("salt", "nonce", "sealed")
    },
    "capitals": (with_fields(encrypted(), sealed=HEX["sealed"].upper()), "`$.sealed`"),
    "a line break in a field": (with_fields(encrypted(), salt=HEX["salt"] + "\n"), "`$.salt`"),
    "digits of another script": (with_fields(encrypted(), salt="\u0661" * 32), "`$.salt`"),
    "a salt that is no text": (with_fields(encrypted(), salt=5), "Expected `str`"),
    "no passes": (with_fields(encrypted(), operations=0), "`$.operations`"),
    "too many passes": (with_fields(encrypted(), operations=MAX_OPERATIONS + 1), "`$.operations`"),
    "passes that are no whole number": (with_fields(encrypted(), operations=1.5), "`$.operations`"),
    "passes as a fraction": (with_fields(encrypted(), operations=1.0), "`$.operations`"),
    "too little memory": (with_fields(encrypted(), memory=MIN_MEMORY - 1024), "`$.memory`"),
    "too much memory": (with_fields(encrypted(), memory=MAX_MEMORY + 1024), "`$.memory`"),
    "all the memory there is": (with_fields(encrypted(), memory=2**63 - 1024), "`$.memory`"),
    "memory in no blocks": (with_fields(encrypted(), memory=MIN_MEMORY + 1), "`$.memory`"),
    "no duty key": (with_public(duty=None), "missing required field `duty`"),
    "a role too many": (with_public(voter="ab" * 32), "unknown field `voter`"),
    "an account that is no address": (with_public(account="ab" * 32), "`$.public.account`"),
    "a node that is an account": (with_public(node=HEX["public"]["account"]), "`$.public.node`"),
    "a short key": (with_public(list="ab" * 31), "`$.public.list`"),
    "another order": (
        json.dumps(dict(sorted(HEX.items())), indent=1).encode() + b"\n",
        "changed since it was written",
    ),
    "a field twice": (
        encrypted().replace(b' "operations"', b' "operations": 1,\n "operations"'),
        "changed since it was written",
    ),
    "no line break at the end": (encrypted()[:-1], "changed since it was written"),
    "a blank at the end": (encrypted() + b" ", "changed since it was written"),
    "line breaks of another system": (
        encrypted().replace(b"\n", b"\r\n"),
        "changed since it was written",
    ),
    "on one line": (json.dumps(HEX).encode(), "changed since it was written"),
    "another address": (with_public(account=encode_account(OTHER)), "passphrase is wrong, or"),
    "another salt": (
        with_fields(encrypted(), salt=flipped(HEX["salt"])),
        "or the file was changed",
    ),
    "another nonce": (with_fields(encrypted(), nonce=flipped(HEX["nonce"])), "passphrase is wrong"),
    "another seal": (
        with_fields(encrypted(), sealed=flipped(HEX["sealed"])),
        "passphrase is wrong",
    ),
    "another cost": (with_fields(encrypted(), operations=2), "passphrase is wrong"),
    "another amount of memory": (with_fields(encrypted(), memory=16_384), "passphrase is wrong"),
    "a clear file with no seed": (with_fields(insecure(), seed=None), "missing required field"),
    "a short seed": (with_fields(insecure(), seed="ab" * 31), "`$.seed`"),
    "a long seed": (with_fields(insecure(), seed="ab" * 33), "`$.seed`"),
    "a seed that is no hex": (with_fields(insecure(), seed="x" * 64), "`$.seed`"),
    "a seed that is no text": (with_fields(insecure(), seed=5), "Expected `str`"),
    "a clear file that does not say so": (
        with_fields(insecure(), note="safe"),
        "changed since it was written",
    ),
}


@pytest.mark.parametrize(("raw", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(tmp_path: Path, raw: bytes, why: str) -> None:
    with pytest.raises(BadKeyFile) as caught:
        open_key_file(raw, PASSPHRASE)
    assert why in str(caught.value)
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    path.chmod(0o600)
    with pytest.raises(BadKeyFile) as named:
        load_seed(path, lambda: PASSPHRASE)
    assert str(named.value) == f"{path}: {caught.value}"
    assert type(named.value) is type(caught.value)
    assert SEED.hex() not in str(named.value)
    assert "ab" * 31 not in str(named.value)


def test_the_files_of_the_table_are_right_before_they_are_changed() -> None:
    assert with_fields(encrypted()) == with_public() == encrypted()
    assert with_fields(insecure()) == insecure()
    assert open_key_file(encrypted(), PASSPHRASE) == open_key_file(insecure()) == SEED


WRONG: Final = {
    "nothing": b"",
    "a blank behind": PASSPHRASE + b" ",
    "capitals": PASSPHRASE.upper(),
    "its beginning": PASSPHRASE[:-1],
    "bytes that are no text": b"\xff\0\n",
    "a very long one": b"x" * 2**20,
}


@pytest.mark.parametrize("passphrase", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_passphrase_is_refused(passphrase: bytes) -> None:
    with pytest.raises(CannotOpen, match="the passphrase is wrong, or the file was changed"):
        open_key_file(encrypted(), passphrase)


def test_the_cost_is_looked_at_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object) -> bytes:
        raise AssertionError("computed")

    raw = encrypted()
    monkeypatch.setattr(bindings, "crypto_pwhash_alg", fail)
    for changes in ({"operations": MAX_OPERATIONS + 1}, {"memory": 2 * MAX_MEMORY}):
        with pytest.raises(BadKeyFile, match="Expected `int` <="):
            open_key_file(with_fields(raw, **changes), PASSPHRASE)


def test_a_machine_without_the_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> bytes:
        raise NaClRuntimeError("Unexpected failure in key derivation")

    raw = seal_key_file(SEED, PASSPHRASE, Cost(1, 2**20), bytes(16), bytes(24))
    monkeypatch.setattr(bindings, "crypto_pwhash_alg", fail)
    with pytest.raises(BadKeyFile, match="takes 1 MiB, which this machine cannot give"):
        open_key_file(raw, PASSPHRASE)


def test_public_keys_of_another_seed_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that writes them wrongly: all of it is authentic, and still not true."""
    with monkeypatch.context() as wrong:
        wrong.setattr(keystore, "describe", lambda _seed: describe(OTHER))
        raw = encrypted()
    with pytest.raises(BadKeyFile, match="names other public keys"):
        open_key_file(raw, PASSPHRASE)


def test_no_altered_byte_goes_unnoticed() -> None:
    for raw in (encrypted(), insecure()):
        for place in range(len(raw)):
            for bit in (1, 2, 16, 128):
                changed = bytearray(raw)
                changed[place] ^= bit
                try:
                    seed = open_key_file(bytes(changed), PASSPHRASE)
                except BadKeyFile:
                    continue
                # in the clear form nothing vouches for the digits of the seed themselves
                assert raw == insecure(), f"byte {place} of the encrypted file"
                assert seed != SEED


def test_no_part_of_a_file_is_one() -> None:
    for raw in (encrypted(), insecure()):
        for count in range(len(raw)):
            with pytest.raises(BadKeyFile):
                open_key_file(raw[:count], PASSPHRASE)


@given(raw=st.binary(max_size=5_000), passphrase=st.binary(max_size=40))
def test_any_bytes_are_refused_with_one_error(raw: bytes, passphrase: bytes) -> None:
    with pytest.raises(BadKeyFile):
        open_key_file(raw, passphrase)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from([*HEX, "seed", "note", "colour"]), value=JSON)
def test_any_value_of_a_field_is_refused_with_one_error(field: str, value: Any) -> None:
    for raw in (encrypted(), insecure()):
        fields = json.loads(raw)
        if fields.get(field) == value:
            continue
        changed = json.dumps(fields | {field: value}, indent=1, ensure_ascii=False)
        with pytest.raises(BadKeyFile):
            open_key_file(changed.encode(errors="surrogatepass") + b"\n", PASSPHRASE)


@settings(max_examples=30)
@given(
    seed=st.binary(min_size=32, max_size=32),
    passphrase=st.binary(min_size=1, max_size=100),
    operations=st.integers(1, 4),
    blocks=st.integers(8, 64),
    salt=st.binary(min_size=16, max_size=16),
    nonce=st.binary(min_size=24, max_size=24),
)
def test_what_is_sealed_opens_again(
    seed: bytes, passphrase: bytes, operations: int, blocks: int, salt: bytes, nonce: bytes
) -> None:
    raw = seal_key_file(seed, passphrase, Cost(operations, 1024 * blocks), salt, nonce)
    assert len(raw) <= MAX_FILE_BYTES
    assert open_key_file(raw, passphrase) == seed
    with pytest.raises(CannotOpen):
        open_key_file(raw, passphrase + b"x")


# --------------------------------------------------------------------------- passphrases


def test_a_passphrase_is_its_text_however_it_was_typed() -> None:
    assert encode_passphrase("Zu\u0308rich") == encode_passphrase("Z\u00fcrich")
    assert encode_passphrase("\ufb01ve") == b"five"
    assert encode_passphrase(" two  blanks ") == b" two  blanks "
    assert encode_passphrase("A") != encode_passphrase("a")


@pytest.mark.parametrize(("text", "why"), [("", "empty"), ("\udcff", "text in UTF-8")])
def test_what_is_no_passphrase(text: str, why: str) -> None:
    with pytest.raises(BadPassphrase, match=why):
        encode_passphrase(text)


def test_an_empty_passphrase_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadPassphrase, match="protects nothing"):
        save_seed(tmp_path / "a.json", SEED, b"", MINIMUM)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------- keys


def test_every_role_of_every_holder_has_a_key_of_its_own() -> None:
    seeds = [SEED, OTHER, *(named_seed(SEED, name) for name in ("a", "b", "node"))]
    keys = {(seed, role): derive(seed, role) for seed in seeds for role in (*ROLES, RECOVERY)}
    for one, two in combinations(keys.values(), 2):
        assert one.public != two.public
        assert one.secret != two.secret
    secrets = {derive_secret(seed, role) for seed in seeds for role in ROLE_NUMBERS}
    assert len(secrets) == len(seeds) * len(ROLE_NUMBERS)
    assert not secrets & {*seeds}


def test_numbers_of_roles_never_change() -> None:
    """A number that is used for another role opens what the first one was for."""
    assert ROLE_NUMBERS == {
        "account": 0,
        "node": 1,
        "duty": 2,
        "list": 3,
        "hash chain": 4,
        "consensus": 5,
        "producer": 6,
        "recovery": 7,
    }
    assert ROLES == ("account", "node", "duty", "list", "consensus", "producer")


def test_a_role_that_there_is_not_has_no_secret() -> None:
    with pytest.raises(KeyError):
        derive_secret(SEED, "treasurer")


def test_the_seed_of_a_name_never_changes() -> None:
    assert named_seed(SEED, "a") == sha256(SEED + b"a")


def test_derived_keys_sign() -> None:
    for role in ROLES:
        pair = derive(SEED, role)
        assert is_public_key(pair.public)
        assert verify(Item(pair.public, b"message", sign(pair, b"message")))


def test_a_key_does_not_print_its_secret() -> None:
    pair = derive(SEED, "account")
    shown = f"{pair} {pair!r} {[pair]} {parse_key_file(insecure())!r}"
    assert pair.public.hex() in shown
    assert SEED.hex() not in shown
    assert derive_secret(SEED, "account").hex() not in shown
    assert repr(pair.secret)[2:20] not in shown

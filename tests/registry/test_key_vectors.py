"""A key file in every step, for other programs to run, and a second program that opens it.

    WAYPOST_REGENERATE=1 pytest tests/registry/test_key_vectors.py

writes `tests/vectors/key_file.json` anew, and the parts of `docs/spec/keys.md` that quote it.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nacl import bindings
from nacl.pwhash import argon2id

from ledger.crypto import key_pair
from registry.keystore import (
    CHAIN,
    RECOVERY,
    ROLE_NUMBERS,
    Cost,
    derive,
    derive_secret,
    describe,
    encode_passphrase,
    open_key_file,
    parse_key_file,
    save_insecure_seed,
    seal_key_file,
)
from registry.words import stretch_words, write_words

ROOT: Final = Path(__file__).resolve().parents[2]
VECTOR: Final = ROOT / "tests" / "vectors" / "key_file.json"
PAGE: Final = ROOT / "docs" / "spec" / "keys.md"
PART: Final = re.compile(
    r"<!-- vector: (?P<name>[a-z ]+) -->\n.*?<!-- end vector: (?P=name) -->", re.DOTALL
)

SEED: Final = bytes(range(32))
PASSPHRASE: Final = "Zürich  ②"
"""Its bytes are those of `Zürich  2`, with the ü as one character."""
COST: Final = Cost(2, 2**16)
SALT: Final = bytes(range(16))
NONCE: Final = bytes(range(24))


def compose_vector(folder: Path) -> Any:
    """Every step from the seed to the file."""
    passphrase = encode_passphrase(PASSPHRASE)
    public = describe(SEED) | {RECOVERY: derive(SEED, RECOVERY).public.hex()}
    file = seal_key_file(SEED, passphrase, COST, SALT, NONCE)
    save_insecure_seed(folder / "insecure.json", SEED)
    return {
        "seed": SEED.hex(),
        "words": " ".join(write_words(SEED)),
        "stretched": stretch_words(SEED).hex(),
        "secrets": [
            {
                "role": role,
                "path": f"m/8420'/{number}'/0'",
                "secret": derive_secret(SEED, role).hex(),
                "public": public.get(role),
            }
            for role, number in ROLE_NUMBERS.items()
        ],
        "passphrase": PASSPHRASE,
        "passphrase_bytes": passphrase.hex(),
        "key": argon2id.kdf(32, passphrase, SALT, *COST).hex(),
        "file": file.decode(),
        "insecure_file": (folder / "insecure.json").read_text(),
    }


# ---- How the page quotes it ----


def quote_seed(vector: Any) -> Iterator[str]:
    words = vector["words"].split()
    yield "seed, 32 bytes"
    yield f"    {vector['seed']}"
    yield "in words:"
    yield from (f"    {' '.join(words[at : at + 8])}" for at in range(0, len(words), 8))
    yield "stretched, 64 bytes"
    yield from (f"    {vector['stretched'][at : at + 64]}" for at in (0, 64))
    for row in vector["secrets"]:
        yield f"secret of the role {row['role']}, at {row['path']}"
        yield f"    {row['secret']}"
        if row["public"]:
            yield "and what is public of it"
            yield f"    {row['public']}"


def quote_file(vector: Any) -> Iterator[str]:
    yield f"passphrase: {vector['passphrase']}"
    yield f"its bytes: {vector['passphrase_bytes']}"
    yield "key, 32 bytes"
    yield f"    {vector['key']}"
    yield "the file:"
    yield from vector["file"].splitlines()


def quote_insecure_file(vector: Any) -> Iterator[str]:
    yield from vector["insecure_file"].splitlines()


PARTS: Final = {"seed": quote_seed, "file": quote_file, "insecure file": quote_insecure_file}


def fill(page: str, vector: Any) -> str:
    """The page with each of its parts made anew."""

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        body = "\n".join(PARTS[name](vector))
        return f"<!-- vector: {name} -->\n```text\n{body}\n```\n<!-- end vector: {name} -->"

    return PART.sub(made, page)


def test_the_example_is_what_the_code_makes(tmp_path: Path) -> None:
    vector = compose_vector(tmp_path)
    if os.environ.get("WAYPOST_REGENERATE") == "1":
        written = json.dumps(vector, indent=2, ensure_ascii=False) + "\n"
        VECTOR.write_text(written, encoding="utf-8")
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), vector), encoding="utf-8")
    assert json.loads(VECTOR.read_text(encoding="utf-8")) == vector, (
        "the code makes other keys or files than tests/vectors/key_file.json holds: whoever "
        "changes that takes everybody's keys away"
    )
    page = PAGE.read_text(encoding="utf-8")
    assert sorted(match["name"] for match in PART.finditer(page)) == sorted(PARTS)
    assert fill(page, vector) == page, "docs/spec/keys.md: WAYPOST_REGENERATE=1 fills it anew"


def test_the_example_opens() -> None:
    vector = json.loads(VECTOR.read_text(encoding="utf-8"))
    file = vector["file"].encode()
    assert open_key_file(file, bytes.fromhex(vector["passphrase_bytes"])).hex() == vector["seed"]
    assert open_key_file(vector["insecure_file"].encode()).hex() == vector["seed"]


# ---- The same by the page alone ----


def open_by_the_page(file: bytes, passphrase: bytes) -> bytes:
    """What the page says of opening, without a line of the program."""
    fields = json.loads(file)
    key = argon2id.kdf(
        32, passphrase, bytes.fromhex(fields["salt"]), fields["operations"], fields["memory"]
    )
    lines = file.splitlines(keepends=True)
    before = b"".join(line for line in lines[: [b'"sealed"' in line for line in lines].index(True)])
    return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        bytes.fromhex(fields["sealed"]), before, bytes.fromhex(fields["nonce"]), key
    )


def secret_by_the_page(words: str, number: int) -> bytes:
    """What the page says of the secret of a role."""
    stretched = hashlib.pbkdf2_hmac("sha512", words.encode(), b"mnemonic", 2048)
    place = hmac.digest(b"ed25519 seed", stretched, "sha512")
    for index in (8420, number, 0):
        data = b"\0" + place[:32] + (2**31 + index).to_bytes(4, "big")
        place = hmac.digest(place[32:], data, "sha512")
    return place[:32]


def test_a_second_program_finds_the_same() -> None:
    vector = json.loads(VECTOR.read_text(encoding="utf-8"))
    seed = open_by_the_page(vector["file"].encode(), bytes.fromhex(vector["passphrase_bytes"]))
    assert seed.hex() == vector["seed"]
    assert bytes.fromhex(vector["passphrase_bytes"]).decode() == "Z\u00fcrich  2"
    public = json.loads(vector["file"])["public"]
    for row in vector["secrets"]:
        number = int(row["path"].split("/")[2].rstrip("'"))
        secret = secret_by_the_page(vector["words"], number)
        assert secret.hex() == row["secret"]
        if row["role"] == CHAIN:
            assert row["public"] is None
            continue
        assert row["role"] == RECOVERY or public[row["role"]] == row["public"]
        if row["role"] not in ("account", "node"):
            assert key_pair(secret).public.hex() == row["public"]


def test_the_roles_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("## The secret of a role")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z ]+)` \| ([0-9]+) \|", section, re.MULTILINE)
    assert {role: int(number) for role, number in rows} == ROLE_NUMBERS


def test_the_fields_of_the_page_are_those_of_the_file() -> None:
    vector = json.loads(VECTOR.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    for heading, name in (("An encrypted", "file"), ("An insecure", "insecure_file")):
        section = page.split(f"## {heading} key file")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE)
        assert rows == list(json.loads(vector[name]))
        parse_key_file(vector[name].encode())

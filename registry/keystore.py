"""Key files. Every key of one holder is derived from one seed: 32 bytes, or 24 words.

- The words are those of BIP 39 for the seed as entropy. Who has the words has every key.
- Each role has a path of its own below them (SLIP 10); role numbers are never used again.
- A file holds the seed under a passphrase. What stands there in the clear, the public keys and the
  cost of an attempt, is authenticated with it.
- A file has one encoding: one that is not what this module would have written is refused.
- A second form holds the seed in the clear and says so: for development networks only.
- No key file is ever overwritten by a new one.

docs/spec/keys.md says the same for other programs.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from secrets import token_bytes
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from ledger.crypto import KeyPair, key_pair, sha256
from ledger.errors import WaypostError
from registry.addresses import encode_account, encode_node
from registry.files import create_durably, write_durably
from registry.slip10 import ExtendedKey, derive_path, master_key
from registry.words import SEED_BYTES, stretch_words

S = TypeVar("S", bound=msgspec.Struct)

PURPOSE: Final = 8420
"""First index of every path: `m/8420'/role'/0'`."""

CHAIN: Final = "hash chain"
"""Role of the secret at the far end of an attestor's hash chain."""

RECOVERY: Final = "recovery"
"""Role of a key that may replace the attestors of a network whose genesis file names it."""

ROLE_NUMBERS: Final = {
    "account": 0,
    "node": 1,
    "duty": 2,
    "list": 3,
    CHAIN: 4,
    "consensus": 5,
    "producer": 6,
    RECOVERY: 7,
}
"""The index of each role in its path."""

ROLES: Final = tuple(role for role in ROLE_NUMBERS if role not in (CHAIN, RECOVERY))
"""The roles whose public keys stand in a key file; each has a key of its own."""

VERSION: Final = 2
"""Of the format. Files of version 1 stood for other keys."""

INSECURE: Final = "insecure: the seed stands here in the clear, for development networks only"

MAX_FILE_BYTES: Final = 4_096
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 24
MAX_OPERATIONS: Final = 16
MIN_MEMORY: Final = 8_192
MAX_MEMORY: Final = 2**30

_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_SEALED_LINE: Final = b' "sealed": '


class BadKeyFile(WaypostError):
    """A key file cannot be used; the message says why."""

    code = "bad_key_file"


class CannotOpen(BadKeyFile):
    """The passphrase is wrong, or something of the file was changed; nobody can tell which."""


class BadPassphrase(WaypostError):
    """What cannot be a passphrase; the message says why."""


class Cost(NamedTuple):
    """What one attempt at a passphrase costs: the limits of libsodium's Argon2id."""

    operations: int
    """Passes over the memory, 1 to `MAX_OPERATIONS`."""
    memory: int
    """Bytes, `MIN_MEMORY` to `MAX_MEMORY`, a multiple of 1024."""


MODERATE: Final = Cost(3, 2**28)
MINIMUM: Final = Cost(1, MIN_MEMORY)
"""Protects nothing that a machine can guess; for tests."""


# --- the keys of a seed --------------------------------------------------------------------------


def derive_secret(seed: bytes, role: str) -> bytes:
    """Return the 32-byte secret of a row of `ROLE_NUMBERS`."""
    return derive_path(_derive_root(seed), (ROLE_NUMBERS[role], 0)).key


def derive(seed: bytes, role: str) -> KeyPair:
    """Return the key pair of one of `ROLES`, or of `RECOVERY`."""
    return key_pair(derive_secret(seed, role))


def named_seed(seed: bytes, name: str) -> bytes:
    """Return the seed of one holder among many that one seed stands for."""
    return sha256(seed + name.encode())


def describe(seed: bytes) -> dict[str, str]:
    """Return what is public of each role: addresses of account and node, keys of the others."""
    written: dict[str, Callable[[bytes], str]] = {"account": encode_account, "node": encode_node}
    return {role: written.get(role, bytes.hex)(derive(seed, role).public) for role in ROLES}


@lru_cache(maxsize=128)
def _derive_root(seed: bytes) -> ExtendedKey:
    # stretching the words takes a millisecond or two, and a registration has four secrets
    return derive_path(master_key(stretch_words(seed)), (PURPOSE,))


# --- the format ----------------------------------------------------------------------------------


def _hex(count: int) -> msgspec.Meta:
    # \Z: a dollar would let a line break pass
    return msgspec.Meta(pattern=rf"^[0-9a-f]{{{2 * count}}}\Z")


def _address(kind: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=rf"^{kind}1[02-9ac-hj-np-z]{{58}}\Z")


_Version: TypeAlias = Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
_PublicKey: TypeAlias = Annotated[str, _hex(32)]


class _Head(msgspec.Struct, frozen=True):
    """What the files of every version have."""

    version: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = msgspec.field(name="waypost key")
    form: str = ""


class PublicKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `describe` says of the seed of a file."""

    account: Annotated[str, _address("wpa")]
    node: Annotated[str, _address("wpn")]
    duty: _PublicKey
    list: _PublicKey
    consensus: _PublicKey
    producer: _PublicKey


class EncryptedKeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of an encrypted file, in their order."""

    version: _Version = msgspec.field(name="waypost key")
    form: Literal["encrypted"]
    public: PublicKeys
    operations: Annotated[int, msgspec.Meta(ge=1, le=MAX_OPERATIONS)]
    memory: Annotated[int, msgspec.Meta(ge=MIN_MEMORY, le=MAX_MEMORY, multiple_of=1_024)]
    salt: Annotated[str, _hex(SALT_BYTES)]
    nonce: Annotated[str, _hex(NONCE_BYTES)]
    sealed: Annotated[str, _hex(SEED_BYTES + _TAG_BYTES)]

    @property
    def cost(self) -> Cost:
        """What an attempt costs."""
        return Cost(self.operations, self.memory)


class InsecureKeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a file in the clear, in their order."""

    version: _Version = msgspec.field(name="waypost key")
    form: Literal["insecure"]
    note: str
    seed: Annotated[str, _hex(SEED_BYTES)]

    def __repr__(self) -> str:
        return "InsecureKeyFile(…)"


KeyFile: TypeAlias = EncryptedKeyFile | InsecureKeyFile

_FORMS: Final[dict[str, type[KeyFile]]] = {
    "encrypted": EncryptedKeyFile,
    "insecure": InsecureKeyFile,
}


def parse_key_file(raw: bytes) -> KeyFile:
    """Return the fields of a key file; of an encrypted one nothing is proven yet.

    Raises `BadKeyFile`.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise BadKeyFile(f"it is longer than {MAX_FILE_BYTES} bytes, so it is no key file")
    head = _decode(raw, _Head)
    if head.version < VERSION:
        raise BadKeyFile(
            f"it is a key file of version {head.version}, whose keys were derived otherwise: "
            "make a new one, and start a development network over with --fresh"
        )
    if head.version > VERSION:
        raise BadKeyFile(f"it is a key file of version {head.version}: use a newer waypost")
    if head.form not in _FORMS:
        raise BadKeyFile("its form is neither encrypted nor insecure")
    file = _decode(raw, _FORMS[head.form])
    is_noted = isinstance(file, EncryptedKeyFile) or file.note == INSECURE
    if not is_noted or _encode(file) != raw:
        raise BadKeyFile(
            "it was changed since it was written, if only in how it is written: put the original "
            "back, or make it again from its words with `waypost keys restore`"
        )
    return file


def open_key_file(raw: bytes, passphrase: bytes | None = None) -> bytes:
    """Return the seed of the bytes of a key file, which the insecure form has without a passphrase.

    Raises `BadKeyFile`; after the time of an attempt `CannotOpen`.
    """
    file = parse_key_file(raw)
    if isinstance(file, InsecureKeyFile):
        return bytes.fromhex(file.seed)
    if passphrase is None:
        raise BadKeyFile("it is encrypted, and no passphrase was given")
    key = _stretch(passphrase, bytes.fromhex(file.salt), file.cost)
    try:
        seed = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            bytes.fromhex(file.sealed), _authenticated(raw), bytes.fromhex(file.nonce), key
        )
    except CryptoError:
        raise CannotOpen("the passphrase is wrong, or the file was changed") from None
    if msgspec.to_builtins(file.public) != describe(seed):
        raise BadKeyFile("it names other public keys than its seed has: report this, with no file")
    return seed


def seal_key_file(seed: bytes, passphrase: bytes, cost: Cost, salt: bytes, nonce: bytes) -> bytes:
    """Return the bytes of an encrypted key file; salt and nonce serve no second file."""
    if not passphrase:
        raise BadPassphrase("an empty passphrase protects nothing")
    file = EncryptedKeyFile(
        version=VERSION,
        form="encrypted",
        public=msgspec.convert(describe(seed), PublicKeys),
        operations=cost.operations,
        memory=cost.memory,
        salt=salt.hex(),
        nonce=nonce.hex(),
        sealed="",
    )
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        seed, _authenticated(_encode(file)), nonce, _stretch(passphrase, salt, cost)
    )
    return _encode(msgspec.structs.replace(file, sealed=sealed.hex()))


def encode_passphrase(text: str) -> bytes:
    """Return what a person typed as bytes: NFKC, then UTF-8. Raises `BadPassphrase`."""
    if not text:
        raise BadPassphrase("an empty passphrase protects nothing")
    try:
        return unicodedata.normalize("NFKC", text).encode()
    except UnicodeError:
        raise BadPassphrase("a passphrase is text in UTF-8") from None


def _decode(raw: bytes, of: type[S]) -> S:
    try:
        return msgspec.json.decode(raw, type=of)
    except msgspec.ValidationError as error:
        # it names the field and what is wrong with it, never what stands there
        raise BadKeyFile(f"it is no key file that can be used: {error}") from None
    except (ValueError, RecursionError):
        raise BadKeyFile("it is no key file: it is not JSON in UTF-8") from None


def _encode(file: KeyFile) -> bytes:
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def _authenticated(raw: bytes) -> bytes:
    """Return what of a file is authenticated beside the seed: all that stands before it."""
    return raw[: raw.index(_SEALED_LINE)]


def _stretch(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    try:
        return bindings.crypto_pwhash_alg(
            _KEY_BYTES, passphrase, salt, *cost, bindings.crypto_pwhash_ALG_ARGON2ID13
        )
    except CryptoError:
        raise BadKeyFile(
            f"an attempt takes {cost.memory >> 20} MiB, which this machine cannot give"
        ) from None


# --- files ---------------------------------------------------------------------------------------


def save_seed(path: Path, seed: bytes, passphrase: bytes, cost: Cost | None = None) -> None:
    """Write a new encrypted key file; without a cost `MODERATE`.

    Raises `BadKeyFile` where one is already, and `BadPassphrase` for an empty one.
    """
    _create(path, _seal(seed, passphrase, cost))


def save_insecure_seed(path: Path, seed: bytes) -> None:
    """Write a new key file in the clear. Raises `BadKeyFile` where one is already."""
    _create(path, _encode(InsecureKeyFile(VERSION, "insecure", INSECURE, seed.hex())))


def change_passphrase(path: Path, seed: bytes, passphrase: bytes, cost: Cost | None = None) -> None:
    """Put an encrypted file in the place of a key file of this seed: all of it, or nothing."""
    # the name may be a link, and the file behind it is what is meant
    write_durably(path.resolve(), _seal(seed, passphrase, cost), mode=0o600)


def load_seed(path: Path, passphrase: Callable[[], bytes] | None = None) -> bytes:
    """Return the seed of a key file; `passphrase` is only called for an encrypted one.

    Raises `BadKeyFile`.
    """
    raw = read_key_file(path)
    with naming(path):
        is_encrypted = isinstance(parse_key_file(raw), EncryptedKeyFile)
        return open_key_file(raw, passphrase() if passphrase and is_encrypted else None)


def describe_file(path: Path) -> tuple[dict[str, str], bool]:
    """Return what a key file says is public of its seed, and whether it is in the clear.

    Of an encrypted file nothing of it is proven before it was opened. Raises `BadKeyFile`.
    """
    raw = read_key_file(path)
    with naming(path):
        file = parse_key_file(raw)
    if isinstance(file, InsecureKeyFile):
        return describe(bytes.fromhex(file.seed)), True
    return msgspec.to_builtins(file.public), False


def read_key_file(path: Path) -> bytes:
    """Return the bytes of a file that one user alone can read. Raises `BadKeyFile`."""
    try:
        # what is no file is not waited for
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadKeyFile(f"there is no key file {path}") from None
    except (OSError, ValueError) as error:
        raise BadKeyFile(f"{path} is no key file that can be read: {error}") from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise BadKeyFile(f"{path} is no key file that can be read: it is no file")
        if mode & 0o077:
            raise BadKeyFile(f"{path} can be read by others: chmod 600 it, or make a new key")
        return os.read(handle, MAX_FILE_BYTES + 1)
    finally:
        os.close(handle)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of which file it is that something is wrong with it."""
    try:
        yield
    except BadKeyFile as error:
        raise type(error)(f"{path}: {error}") from None


def _seal(seed: bytes, passphrase: bytes, cost: Cost | None) -> bytes:
    salt, nonce = token_bytes(SALT_BYTES), token_bytes(NONCE_BYTES)
    return seal_key_file(seed, passphrase, cost or MODERATE, salt, nonce)


def _create(path: Path, raw: bytes) -> None:
    try:
        create_durably(path, raw, mode=0o600)
    except FileExistsError:
        raise BadKeyFile(f"{path} exists already: a key file is never overwritten") from None

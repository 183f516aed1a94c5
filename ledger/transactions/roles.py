"""The role keys of a node: what `register` and `set_keys` share.

- Each key is a usable one, and proves itself by signing what names it under its own tag.
- A key is bound for ever to one role of one node; that node may use it again.
"""

from collections.abc import Sequence

from ledger.crypto import Signed, is_public_key, signing_bytes
from ledger.errors import Refusal
from ledger.messages.state import ROLES, Binding
from ledger.messages.tables import BINDINGS
from ledger.state import State
from ledger.types import Hash, Key


def check_pair(key: bytes, signature: bytes) -> None:
    """Check that a key that may be left out comes with its proof. Refuses with `attestor_keys`."""
    if (len(key), len(signature)) not in ((0, 0), (32, 64)):
        raise Refusal("attestor_keys", why="a key and its proof come together")


def check_roles(state: State, node: Key, roles: Sequence[tuple[int, Key]]) -> None:
    """Check the keys of a node. Refuses with `keys_not_distinct`, `bad_key`, `key_in_use`."""
    if len({key for _, key in roles}) != len(roles):
        raise Refusal("keys_not_distinct")
    for role, key in roles:
        if not is_public_key(key):
            raise Refusal("bad_key", field=f"the {ROLES[role]} key")
        binding = state.get(BINDINGS, key)
        if binding is not None and binding != Binding(role, node):
            raise Refusal("key_in_use", role=ROLES[role])


def prove_roles(
    genesis_hash: Hash, payload: bytes, proofs: Sequence[tuple[bytes, Key, bytes]]
) -> list[Signed]:
    """Return what has to be verified of `(tag, key, signature)` over one payload."""
    return [
        Signed(key, signing_bytes(tag, genesis_hash, payload), signature)
        for tag, key, signature in proofs
        if key or signature
    ]

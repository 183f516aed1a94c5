"""The tag of each kind of message: what a signature or a hash is for.

A tag is at most 32 bytes, stands for one use for ever, and is padded with zero bytes.
"""

from typing import Final

TRANSACTION: Final = b"waypost transaction"
"""An account signs an envelope."""

REGISTRATION: Final = b"waypost registration"
"""A node key signs the registration of a new life."""

DUTY_KEY: Final = b"waypost duty key"
"""A duty key proves itself for a registration or a change of keys."""

LIST_KEY: Final = b"waypost list key"
"""A list key proves itself for a registration or a change of keys."""

CONSENSUS_KEY: Final = b"waypost consensus key"
"""A consensus key proves itself for a registration or a change of keys."""

CONTACT: Final = b"waypost contact"
"""A node key signs new contact data."""

LIST_HEADER: Final = b"waypost list header"
"""A list key attests a header."""

KEY_CHANGE: Final = b"waypost key change"
"""A node key signs new role keys."""

VOTE: Final = b"waypost vote"
"""A duty key says how a node fared in an epoch."""

CHALLENGE: Final = b"waypost challenge"
"""A duty key answers a tester at the node's address."""

CHECK_IN: Final = b"waypost check-in"
"""A node key tells a service that the node's agent is there."""

SEAT: Final = b"waypost seat"
"""A list key proves itself, and its hash chain, for a seat in an order of attestors."""

SET_ORDER: Final = b"waypost attestor order"
"""A list key orders another set of attestors."""

RECOVERY_ORDER: Final = b"waypost recovery order"
"""A recovery key orders another set of attestors."""

PARAMS_ORDER: Final = b"waypost parameter order"
"""A list key orders other parameters."""

SUCCESSOR_ORDER: Final = b"waypost successor order"
"""A list key orders the network that goes on after this one."""

BLOCK: Final = b"waypost block"
"""The producer of a `solo` chain seals a block."""

SEED: Final = b"waypost seed"
"""Hash: the seed of the next epoch."""

QUORUM: Final = b"waypost quorum"
"""Hash: the draw of a node's testers."""

REMOVAL: Final = b"waypost removal"
"""Hash: whose turn it is to be removed."""

PARAMETERS: Final = b"waypost parameters"
"""Hash: the digest of the parameters in a header."""

ATTESTORS: Final = b"waypost attestors"
"""Hash: a set of attestors."""

FINGERPRINT: Final = b"waypost fingerprint"
"""Hash: what two people compare as words."""

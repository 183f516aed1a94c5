"""Signed transactions for a network of `networks`: what people send, drawn from a seeded generator.

Of 100 transactions 2 register a node, 8 contribute to nodes that were registered before, 2 judge
one where there are verdicts, and all others are transfers between any two accounts. A node gets 4
contributions and waits for more. Every sender is drawn from all accounts, so that most of what a
block touches was not touched by the block before.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from bench.networks import duty_pair, node_key
from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import KeyPair, sign
from ledger.messages.contact import Contact, Version
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.tables import EPOCH, ROSTERS
from ledger.messages.transactions import VERSION, Free, Judge, TesterVote
from ledger.params import Params
from ledger.rules.stakes import minimum_operator_stake
from ledger.state import epoch_key
from ledger.transactions.judge import get_quorum
from ledger.types import Amount, Hash, Key
from registry.keystore import derive, named_seed
from registry.verdicts import JUDGE_TAG
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration

REGISTER_SHARE: Final = 2
CONTRIBUTE_SHARE: Final = 8
JUDGE_SHARE: Final = 2
CONTRIBUTIONS: Final = 4
LIFETIME_BLOCKS: Final = 1_000
FAULTY: Final = 1
"""What every tester found."""


def make_contact(number: int) -> Contact:
    """Return contact data that a real node could have; a fifth of the nodes have IPv6 too."""
    mixed = (number * 2_654_435_761) & 0xFFFFFFFF
    ipv4 = bytes([51 + mixed % 49, *(mixed >> 8).to_bytes(3, "big")])
    ipv6 = bytes.fromhex("2a01") + mixed.to_bytes(4, "big") + bytes(9) + b"\1"
    return Contact(
        ipv4, ipv6 if number % 5 == 0 else b"", 22_021, 22_020, Version(2, 11, 0), Version(11, 6, 0)
    )


def make_verdicts(chain: Chain, nodes: int) -> list[bytes]:
    """Return a verdict for each node of `open_with_accounts`, all of which failed."""
    state = chain.view().state
    epoch = state.one(EPOCH).epoch
    threshold = state.one(ROSTERS, epoch_key(epoch)).threshold
    pairs = {node_key(number): duty_pair(number) for number in range(nodes)}
    verdicts = []
    for node in pairs:
        message = vote_bytes(chain.genesis_hash, Vote(epoch, node, 1, FAULTY))
        testers = get_quorum(state, epoch, node)[:threshold]
        votes = tuple(
            TesterVote(place, FAULTY, sign(pairs[tester], message))
            for place, tester in enumerate(testers)
        )
        verdicts.append(encode(Free(VERSION, JUDGE_TAG, Judge(epoch, node, 1, votes))))
    return verdicts


class Traffic:
    """Draws transactions that are all valid in the order in which they are drawn."""

    def __init__(
        self,
        genesis_hash: Hash,
        params: Params,
        pairs: list[KeyPair],
        start_ms: int,
        seed: Key,
        verdicts: Iterable[bytes] = (),
    ) -> None:
        self._genesis_hash = genesis_hash
        self._params = params
        self._start_ms = start_ms
        self._random = Random(seed)
        self._seed = seed
        self._wallets = [Wallet(genesis_hash, pair) for pair in pairs]
        self._nonces = [0] * len(pairs)
        self._open: list[tuple[Key, int, set[int]]] = []
        self._fresh: list[tuple[Key, int, set[int]]] = []
        self._nodes = 0
        self._verdicts = list(verdicts)

    def draw(self, count: int, height: int) -> list[bytes]:
        """Return transactions for the block at `height`, shuffled kinds in a fixed proportion."""
        registers = count * REGISTER_SHARE // 100
        contributes = min(count * CONTRIBUTE_SHARE // 100, CONTRIBUTIONS * len(self._open))
        judges = min(count * JUDGE_SHARE // 100, len(self._verdicts))
        kinds = [self._register] * registers + [self._contribute] * contributes
        kinds += [self._judge] * judges
        kinds += [self._transfer] * (count - len(kinds))
        self._random.shuffle(kinds)
        raws = [draw(height) for draw in kinds]
        # nodes registered in this block take contributions from the next one on
        self._open += self._fresh
        self._fresh = []
        return raws

    def _draw_sender(self, height: int) -> tuple[int, Wallet, Terms]:
        place = self._random.randrange(len(self._wallets))
        terms = Terms(self._nonces[place], self._params.minimum_fee, height + LIFETIME_BLOCKS)
        self._nonces[place] += 1
        return place, self._wallets[place], terms

    def _transfer(self, height: int) -> bytes:
        _, wallet, terms = self._draw_sender(height)
        recipient = self._random.choice(self._wallets).account
        return wallet.transfer(terms, recipient, 1 + self._random.randrange(1_000_000))

    def _register(self, height: int) -> bytes:
        place, wallet, terms = self._draw_sender(height)
        seed = named_seed(self._seed, f"node {self._nodes}")
        contact = make_contact(self._nodes)
        self._nodes += 1
        registration = sign_registration(
            self._genesis_hash,
            seed,
            NodeTerms(
                life=1,
                operator=wallet.account,
                beneficiary=wallet.account,
                fee=500,
                reserved=(),
                contact=contact,
                expiry_ms=self._start_ms + self._params.registration_ms,
                attests=False,
            ),
            self._operator_stake,
        )
        self._fresh.append((derive(seed, "node").public, CONTRIBUTIONS, {place}))
        return wallet.register(terms, registration)

    def _contribute(self, height: int) -> bytes:
        node, left, known = self._open[0]
        place, wallet, terms = self._draw_sender(height)
        while place in known:
            self._nonces[place] -= 1
            place, wallet, terms = self._draw_sender(height)
        known.add(place)
        self._open[0] = (node, left - 1, known)
        if left == 1:
            del self._open[0]
        return wallet.contribute(terms, node, 1, self._contribution)

    def _judge(self, height: int) -> bytes:
        return self._verdicts.pop()

    @property
    def _operator_stake(self) -> Amount:
        params = self._params
        return minimum_operator_stake(params.staking_requirement, params.operator_share)

    @property
    def _contribution(self) -> Amount:
        """The least that the first of all other contributors may give."""
        params = self._params
        return -(
            -(params.staking_requirement - self._operator_stake) // (params.max_contributors - 1)
        )

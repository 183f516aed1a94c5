"""People who send what is right and what is wrong, from a seed, each to a service of his own.

A person's transactions go to one service, so that their nonces arrive in order. Two that contradict
each other go to two services at once: one of them alone stands in the chain in the end.
"""

import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from ledger.crypto import sha256
from ledger.messages.genesis import GENESIS
from ledger.params import Params
from ledger.types import COIN, Hash, Height
from registry.keystore import derive
from registry.wallet import NodeTerms, Terms, Wallet, sign_registration
from tests.comet.network import ACCOUNTS, RICH, Validator, contact_of, seed_of
from tests.flip import flip

LIFETIME: Final = 300
"""Blocks that a transaction has time for."""

RIVALS: Final = 8
"""People who do nothing but contradict themselves."""

REGISTRATION_MS: Final = 3_600_000


class Sent(NamedTuple):
    """Something that was sent, and what has to become of it."""

    raw: bytes
    code: str
    """Of its refusal; none if it is good."""


class Person:
    """An account, its nodes, and what it sent so far."""

    def __init__(self, number: int, genesis_hash: Hash) -> None:
        pair = derive(seed_of(f"person {number}"), "account")
        self.number = number
        self.account = pair.public
        self.wallet = Wallet(genesis_hash, pair)
        self.stranger = Wallet(sha256(b"another network"), pair)
        self.nonce = 0
        self.nodes = 0


class Crowd:
    """Everybody, with what they sent."""

    def __init__(self, genesis: bytes, seed: int) -> None:
        self._hash = sha256(genesis)
        self._params = Params(*GENESIS.decode(genesis).params)
        self._rng = Random(seed)
        people = [Person(number, self._hash) for number in range(ACCOUNTS)]
        self._people, self._rivals = people[:-RIVALS], people[-RIVALS:]
        self.good: list[Hash] = []
        """Hashes of what was taken and contradicts nothing."""
        self.pairs: list[tuple[Hash, Hash]] = []
        """Hashes of two transactions of which one at most can be applied."""
        self.counts: Counter[str] = Counter()
        """How much was sent, by the code of its refusal."""

    def act(self, validators: Sequence[Validator], height: Height, count: int) -> None:
        """Send `count` transactions to each service, and check what each one answers."""
        for place, validator in enumerate(validators):
            own = [row for row in self._people if row.number % len(validators) == place]
            sent = [self._make(self._rng.choice(own), height) for _ in range(count)]
            answers = validator.submit([row.raw for row in sent])
            for row, answer in zip(sent, answers, strict=True):
                states = ("refused",) if row.code else ("pending", "committed")
                assert answer["state"] in states, (row.code, answer)
                assert answer["code"] == (row.code or None), (row.code, answer)
                self.counts[row.code or "good"] += 1
                if not row.code:
                    self.good.append(sha256(row.raw))
        self._contradict(validators, height)

    def _make(self, person: Person, height: Height) -> Sent:
        if self._rng.random() < 0.3:
            return self._make_bad(person, height)
        if person.nodes < 2 and self._rng.random() < 0.1:
            return Sent(self._register(person, height), "")
        raw = self._transfer(person.wallet, self._terms(person, height))
        person.nonce += 1
        return Sent(raw, "")

    def _terms(self, person: Person, height: Height) -> Terms:
        return Terms(person.nonce, self._params.minimum_fee, height + LIFETIME)

    def _transfer(self, wallet: Wallet, terms: Terms, amount: int = 0) -> bytes:
        to = self._rng.choice(self._people).account
        return wallet.transfer(terms, to, amount or self._rng.randrange(1, COIN))

    def _register(self, person: Person, height: Height) -> bytes:
        terms = NodeTerms(
            life=1,
            operator=person.account,
            beneficiary=person.account,
            fee=300,
            reserved=(),
            contact=contact_of(person.number),
            expiry_ms=time.time_ns() // 1_000_000 + REGISTRATION_MS,
            attests=False,
        )
        seed = seed_of(f"node {person.nodes} of person {person.number}")
        stake = self._params.staking_requirement
        registration = sign_registration(self._hash, seed, terms, stake)
        raw = person.wallet.register(self._terms(person, height), registration)
        person.nonce += 1
        person.nodes += 1
        return raw

    def _make_bad(self, person: Person, height: Height) -> Sent:
        terms = self._terms(person, height)
        good = self._transfer(person.wallet, terms)
        far = height + LIFETIME + self._params.max_lifetime_blocks
        bad = {
            "bad_signature": [flip(good), self._transfer(person.stranger, terms)],
            "not_canonical": [good[:-1], good + b"\0"],
            "nonce_skipped": [
                self._transfer(person.wallet, terms._replace(nonce=terms.nonce + n))
                for n in (1, 2**40)
            ],
            "fee_too_low": [self._transfer(person.wallet, terms._replace(fee=0))],
            "expired": [self._transfer(person.wallet, terms._replace(expiry=0))],
            "expiry_too_far": [self._transfer(person.wallet, terms._replace(expiry=far))],
            "balance_too_low": [self._transfer(person.wallet, terms, amount=2 * RICH)],
        }
        code = self._rng.choice(list(bad))
        return Sent(self._rng.choice(bad[code]), code)

    def _contradict(self, validators: Sequence[Validator], height: Height) -> None:
        """Send two transfers with one nonce to two services at once."""
        if len(validators) < 2:
            return
        person = self._rng.choice(self._rivals)
        terms = self._terms(person, height)
        pair = [self._transfer(person.wallet, terms, amount) for amount in (1, 2)]
        taken = []
        for raw, validator in zip(pair, self._rng.sample(list(validators), 2), strict=True):
            (answer,) = validator.submit([raw])
            if answer["state"] in ("pending", "committed"):
                taken.append(sha256(raw))
            else:
                # the other one, or the one before it, was quicker or slower
                assert answer["code"] in ("nonce_used", "nonce_skipped"), answer
        if len(taken) == 2:
            self.pairs.append((taken[0], taken[1]))
        elif taken:
            self.good += taken
        person.nonce += bool(taken)

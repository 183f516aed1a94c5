"""The file with which a network begins that follows on another one: made, passed on, believed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import final_key, journal_key
from ledger.leveldb import LevelStore
from ledger.messages.entries import join_columns
from ledger.messages.genesis import COMET, REGISTRY, SOLO, Genesis
from ledger.messages.lists import (
    HEADER_BYTES,
    decode_signed_header,
    encode_signed_header,
    fingerprint_bits,
)
from ledger.messages.state import Account
from ledger.messages.tables import ACCOUNTS, POOL, SETS, SUCCESSION
from registry.client import TrustedLists
from registry.formats.fingerprint import fingerprint_words
from registry.formats.full import encode_full
from registry.formats.trust import encode_path
from registry.home import GENESIS, INHERITANCE
from registry.inheritance import (
    INHERITANCE_FILE,
    check_inheritance,
    find_last_header,
    fingerprint_last,
    load_inheritance,
    make_inheritance,
    open_inheritance,
)
from registry.ledger_process import Service
from registry.settings import Settings, load_settings
from registry.signer import Known
from registry.watermarks import SignerRefuses
from tests.factory import DAY_MS, START_MS, Network, make_genesis, public, replay
from tests.flip import flip
from tests.ledger.moving import (
    announce,
    everything,
    hand_over,
    make_successor,
    move,
    succeed,
    wait,
)
from tests.ledger.scenes import SHORT
from tests.life import seats, set_attestors
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.made import Validated, write_home
from tests.registry.factory import (
    Site,
    eventually,
    in_loop,
    short_folder,
)
from tests.registry.test_ledger_process import make_home, started
from tests.registry.year import newest, path_between

NOW_MS: Final = START_MS + 30 * DAY_MS


class Ended:
    """A network that is over, and what it left."""

    def __init__(self, network: Network, successor: Genesis) -> None:
        self.network = network
        self.successor = successor
        self.following = encode(successor)
        self.expected = hand_over(network)
        self.last = network.header
        height = network.chain.tip.height
        network.settle()
        network.end_epoch()
        assert network.state.one(SUCCESSION).last_epoch == self.last.epoch
        self.end = replay(network.raw, network.blocks[:height])
        self.raw = make_inheritance(network.chain, self.end.view().reader)


@cache
def ended(engine: int = COMET) -> Ended:
    """A life with nodes in every state that is over; nobody changes it."""
    return Ended(*everything(lambda network: make_successor(network, engine)))


def refused(code: str, act: Callable[..., object], *values: Any) -> Refusal:
    """Call it; it has to be refused with this code."""
    with pytest.raises(Refusal) as caught:
        act(*values)
    assert caught.value.code == code
    return caught.value


# ------------------------------------------------------------------------------------ the file


def test_it_is_what_the_ledger_begins_with() -> None:
    made = ended()
    opened = open_inheritance(made.raw, made.following, NOW_MS)
    assert opened == made.expected
    begun = check_inheritance(made.raw, made.following, NOW_MS)
    assert begun.tip == succeed(made.successor, made.expected).chain.tip
    assert begun.tip.root == begun.view().tip.root
    assert find_last_header(made.network.view) == made.last


def test_everybody_makes_the_same_bytes() -> None:
    made = ended()
    beside = replay(made.network.raw, made.network.blocks)
    assert make_inheritance(beside, made.end.view().reader) == made.raw


def test_one_made_of_another_height_is_refused() -> None:
    made = ended()
    later = make_inheritance(made.network.chain, made.network.view.reader)
    refused("bad_inheritance", check_inheritance, later, made.following, NOW_MS)


def test_a_network_that_goes_on_leaves_nothing() -> None:
    network = Network(**SHORT)
    refused("bad_inheritance", make_inheritance, network.chain, network.view.reader)
    successor = make_successor(network)
    announce(network, successor)
    move(network, successor)
    # named, and not final yet
    refused("bad_inheritance", make_inheritance, network.chain, network.view.reader)


def test_the_first_header_that_is_final_is_the_last() -> None:
    """One that named the successor before was not final: what it stands for is not inherited."""
    network = Network(**SHORT)
    successor = make_successor(network)
    announce(network, successor)
    network.settle()
    network.attesting = False
    move(network, successor)
    first = network.header.epoch
    network.end_epoch()
    network.attesting = True
    made = Ended(network, successor)
    assert made.last.epoch == first + 1
    assert (
        check_inheritance(made.raw, made.following, NOW_MS).tip.time_ms == made.last.valid_after_ms
    )


def changed(**changes: Any) -> bytes:
    """The file with other fields."""
    return encode(replace(INHERITANCE_FILE.decode(ended().raw), **changes))


def without_signatures() -> bytes:
    header = INHERITANCE_FILE.decode(ended().raw).header
    signed = decode_signed_header(header)
    return encode_signed_header(signed._replace(signatures=signed.signatures[:2]))


def signed_by_another() -> bytes:
    header = INHERITANCE_FILE.decode(ended().raw).header
    return flip(header)


def header_before() -> bytes:
    network = ended().network
    return network.view.reader.get(final_key(ended().last.epoch - 1)) or b""


def renamed() -> bytes:
    return encode(replace(ended().network.genesis, name=b"renamed"))


BAD: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "no file": ("not_canonical", lambda: b""),
    "a byte behind it": ("not_canonical", lambda: ended().raw + b"\0"),
    "another version": ("unknown_format", lambda: changed(version=2)),
    "another genesis file": ("bad_signature", lambda: changed(genesis=renamed())),
    "two of three signatures": ("not_final", lambda: changed(header=without_signatures())),
    "a signature that does not fit": (
        "bad_signature",
        lambda: changed(header=signed_by_another()),
    ),
    "a header that names nobody": ("bad_path", lambda: changed(header=header_before())),
    "a path that is none": ("unknown_format", lambda: changed(path=b"\2")),
    "no state": ("bad_inheritance", lambda: changed(chunks=())),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    code, make = BAD[name]
    refused(code, check_inheritance, make(), ended().following, NOW_MS)


def test_it_is_for_the_network_that_the_header_names() -> None:
    other = encode(replace(ended().successor, seed=bytes(32)))
    refused("wrong_successor", check_inheritance, ended().raw, other, NOW_MS)


def test_a_header_of_the_right_network_that_names_nobody_is_not_enough() -> None:
    made = ended()
    epoch = made.last.epoch - 1
    path = encode_path(path_between(made.network, None, epoch))
    raw = changed(header=header_before(), path=path)
    refused("wrong_successor", check_inheritance, raw, made.following, NOW_MS)


def test_attestors_that_changed_are_followed() -> None:
    network = Network(**SHORT)
    successor = make_successor(network)
    announce(network, successor)
    kept = network.state.one(SETS).current[1:]
    network.block(set_attestors(network, seats(network, "a new seat", kept=kept)))
    wait(network, 1)
    assert public("a new seat") in [member.list_key for member in network.state.one(SETS).current]
    move(network, successor)
    made = Ended(network, successor)
    file = INHERITANCE_FILE.decode(made.raw)
    assert check_inheritance(made.raw, made.following, NOW_MS).is_initialised
    without = encode(replace(file, path=b""))
    refused("wrong_set", check_inheritance, without, made.following, NOW_MS)


def test_past_the_trust_period_somebody_has_to_vouch(tmp_path: Path) -> None:
    genesis = make_genesis(SHORT, policy=REGISTRY)
    network = Network(genesis)
    successor = make_successor(network)
    announce(network, successor)
    move(network, successor)
    made = Ended(network, successor)
    refused("trust_expired", open_inheritance, made.raw, made.following, NOW_MS)
    raw = made.network.view.reader.get(final_key(made.last.epoch)) or b""
    vouched = fingerprint_bits(network.hash, raw[:HEADER_BYTES])
    assert vouched == fingerprint_last(made.raw)
    soon_ms = made.last.valid_after_ms + 1
    opened = open_inheritance(made.raw, made.following, soon_ms, [vouched])
    assert opened == made.expected
    refused("trust_expired", open_inheritance, made.raw, made.following, soon_ms, [bytes(16)])
    # of a network that is over no newer header comes: it is the last one, however old it is
    assert open_inheritance(made.raw, made.following, NOW_MS, [vouched]) == made.expected
    before = made.last.valid_after_ms - DAY_MS
    refused("from_the_future", open_inheritance, made.raw, made.following, before, [vouched])
    # what lies in a home was verified before
    (tmp_path / INHERITANCE).write_bytes(made.raw)
    assert load_inheritance(tmp_path, made.following, NOW_MS) == made.expected


# ----------------------------------------------------------------------------------- the client


@pytest.mark.parametrize("engine", [SOLO, COMET], ids=["solo", "comet"])
def test_a_client_finds_the_same_nodes_in_the_network_that_follows(engine: int) -> None:
    made = ended(engine)
    old = made.network
    now_ms = made.last.valid_after_ms
    client = TrustedLists(old.raw, now_ms, allow_expired=True)
    last = old.view.reader.get(final_key(made.last.epoch)) or b""
    client.update(last, encode_path(path_between(old, None, made.last.epoch)))
    client.load_full(encode_full(made.end.newest_list().columns))
    entries, swarm_ids = client.entries, client.swarm_ids
    account_id = public("alice")
    swarm = client.swarm_of(account_id)
    assert len(entries) == made.last.node_count > 5
    client.succeed(made.following)

    new = succeed(made.successor, made.expected)
    new.settle()
    client.start_update(new.chain.tip.time_ms)
    client.update(newest(new))
    client.load_full(encode_full(new.chain.newest_list().columns))
    assert client.header.epoch == 0
    assert (client.entries, client.swarm_ids) == (entries, swarm_ids)
    assert client.swarm_of(account_id) == swarm
    assert join_columns(client.columns) == made.end.newest_list().columns
    for epoch in (1, 2):
        new.end_epoch()
        new.settle()
        client.start_update(new.chain.tip.time_ms)
        client.update(newest(new), encode_path(path_between(new, epoch - 1, epoch)))
        assert client.header == new.header
    assert client.successor is None


# ------------------------------------------------------------------------------------- signers


def test_a_key_whose_chain_goes_on_signs_header_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path)
    network = Network(site.genesis)
    network.attesting = False
    network.block()
    site.clock.ms = network.header.valid_after_ms
    known = Known(lambda _: None, 5, network.params.epoch_ms, site.genesis.start_ms)
    signer = site.header_signer("attestor")
    raw = network.chain.newest_header().header
    assert len(signer.sign(raw, known)) == 64
    site.let_go()


def test_a_key_without_watermark_that_signed_before_still_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = Site(monkeypatch, tmp_path)
    network = Network(site.genesis)
    network.attesting = False
    network.end_epoch()
    network.block()
    site.clock.ms = network.header.valid_after_ms
    known = Known(lambda _: None, 5, network.params.epoch_ms, site.genesis.start_ms)
    with pytest.raises(SignerRefuses, match="may have signed"):
        site.header_signer("attestor").sign(network.chain.newest_header().header, known)
    site.let_go()


# ------------------------------------------------------------------------------------- a home


def test_what_lies_in_a_home_is_for_its_network(tmp_path: Path) -> None:
    made = ended()
    assert load_inheritance(tmp_path, made.following, NOW_MS) is None
    (tmp_path / INHERITANCE).write_bytes(made.raw)
    assert load_inheritance(tmp_path, made.following, NOW_MS) == made.expected
    # a network without a predecessor looks at nothing
    assert load_inheritance(tmp_path, made.network.raw, NOW_MS) is None
    other = encode(replace(made.successor, seed=bytes(32)))
    refused("wrong_successor", load_inheritance, tmp_path, other, NOW_MS)


@in_loop
async def test_a_service_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder, capture_logs() as lines:
        site, settings = make_home(monkeypatch, folder)
        network = Network(**SHORT, attest_blocks=100, block_ms=100)
        network.block(network.register())
        [seat] = site.genesis.attestors
        successor = make_successor(network, SOLO, attestors=(seat,), producer=site.genesis.producer)
        announce(network, successor)
        move(network, successor)
        made = Ended(network, successor)
        site.clock.ms = made.last.valid_after_ms + 1
        (folder / GENESIS).write_bytes(made.following)
        settings = settings_of(folder, settings, watermark=True)
        (folder / INHERITANCE).write_bytes(made.raw)
        async with started(site, settings) as asked:
            await eventually(lambda: asked.views and asked.views[-1].latest == 0)
            answer = (await asked.query("account", key=public("bob")))["result"]
            assert answer["balance"] == str(network.balance("bob"))
            chain = asked.service.chain
            assert chain.newest_list() == made.end.newest_list()
            root = chain.view_at(0)
            assert root is not None
            assert root.tip == succeed(successor, made.expected).chain.tip
        # who has begun wants it no more
        (folder / INHERITANCE).unlink()
        async with started(site, settings) as asked:
            assert asked.service.chain.tip.height >= 1
        attested = [line["epoch"] for line in lines if line["event"] == "attested"]
        assert attested[0] == 0


def test_a_service_without_it_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / GENESIS).write_bytes(ended(SOLO).following)
    refused("inheritance_missing", Service, Settings(home=tmp_path))


def settings_of(folder: Path, settings: Settings, *, watermark: bool) -> Settings:
    """The settings of a home whose network is not new any more."""
    return settings.model_copy(update={"home": folder, "new_watermark": watermark})


# ----------------------------------------------------------------------------- the command line


class Homes:
    """The homes of a node of the network that ends, and of one that follows."""

    def __init__(self, folder: Path) -> None:
        self.made = ended()
        self.old, self.new = folder / "old", folder / "new"
        self.old.mkdir()
        self.new.mkdir()
        write_home(self.old, self.made.network)
        self.following = folder / "following.bin"
        self.following.write_bytes(self.made.following)
        (self.new / GENESIS).write_bytes(self.made.following)
        self.left = folder / "left"

    def bequeath(self, **options: Any) -> Any:
        """Have the old home write its file."""
        return call_json(
            *("ledger", "bequeath", "--home", self.old),
            *("--successor", self.following, "--to", self.left),
        )


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Homes:
    monkeypatch.delenv("WAYPOST_URL", raising=False)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "none"))
    return Homes(tmp_path)


def test_a_home_bequeaths_and_another_inherits(homes: Homes) -> None:
    made = homes.made
    shown = homes.bequeath()
    assert homes.left.read_bytes() == made.raw
    begun = check_inheritance(made.raw, made.following, NOW_MS)
    assert shown["hash"] == sha256(made.raw).hex()
    assert shown["state_root"] == begun.tip.root.hex()
    assert shown["predecessor"] == made.network.hash.hex()
    assert shown["genesis_hash"] == sha256(made.following).hex()
    assert shown["time_ms"] == made.last.valid_after_ms
    assert shown["supply"] == str(begun.view().state.one(POOL).supply)
    assert shown["accounts"] == sum(1 for _ in begun.view().state.items(ACCOUNTS))

    taken = call_json("ledger", "inherit", homes.left, "--home", homes.new)
    assert taken | {"file": shown["file"]} == shown
    assert (homes.new / INHERITANCE).read_bytes() == made.raw
    # what is there is never overwritten
    again = call("ledger", "inherit", homes.left, "--home", homes.new, code=1)
    assert again.stderr.startswith("error: ")
    call("ledger", "bequeath", "--home", homes.old, "--successor", homes.following, "--to",
         homes.left, code=1)  # fmt: skip
    assert homes.left.read_bytes() == made.raw


def test_a_home_is_made_with_it(homes: Homes, tmp_path: Path) -> None:
    made = homes.made
    homes.left.write_bytes(made.raw)
    home = tmp_path / "made"
    told = ("init", "--engine", "comet", "--home", home, "--genesis", homes.following)
    call(*told, "--inherit", homes.left)
    assert (home / INHERITANCE).read_bytes() == made.raw
    assert (home / GENESIS).read_bytes() == made.following
    settings = load_settings(home, {})
    opened = load_inheritance(settings.home, made.following, NOW_MS)
    assert opened == made.expected
    # one that is no such file leaves nothing behind
    other = tmp_path / "other"
    homes.left.write_bytes(changed(chunks=()))
    result = call(*("init", "--engine", "comet", "--home", other), "--genesis", homes.following,
                  "--inherit", homes.left, code=1)  # fmt: skip
    assert error_of(result) == "bad_inheritance"
    assert not (other / GENESIS).exists()
    assert not (other / INHERITANCE).exists()
    # a home that has begun otherwise is not used
    (other / INHERITANCE).parent.mkdir(exist_ok=True)
    (other / INHERITANCE).write_bytes(b"")
    call("init", "--home", other, "--insecure", code=1)


def test_the_text_says_what_to_compare(homes: Homes) -> None:
    homes.bequeath()
    text = call("ledger", "inherit", homes.left, "--home", homes.new).stdout
    begun = check_inheritance(homes.made.raw, homes.made.following, NOW_MS)
    assert begun.tip.root.hex() in text
    assert sha256(homes.made.raw).hex() in text


def test_bad_files_are_not_taken(homes: Homes) -> None:
    homes.left.write_bytes(changed(chunks=()))
    result = call("ledger", "inherit", homes.left, "--home", homes.new, code=1)
    assert error_of(result) == "bad_inheritance"
    assert not (homes.new / INHERITANCE).exists()


def test_another_successor_gets_nothing(homes: Homes) -> None:
    homes.following.write_bytes(encode(replace(homes.made.successor, seed=bytes(32))))
    result = call(
        *("ledger", "bequeath", "--home", homes.old, "--successor", homes.following),
        *("--to", homes.left),
        code=1,
    )
    assert error_of(result) == "wrong_successor"
    assert not homes.left.exists()


def test_a_damaged_chain_bequeaths_nothing(homes: Homes) -> None:
    store = LevelStore(homes.old / "ledger", create=False)
    height = homes.made.last.height
    store.write({journal_key(height - 1): store.get(journal_key(height - 2))})
    store.close()
    result = call(
        *("ledger", "bequeath", "--home", homes.old, "--successor", homes.following),
        *("--to", homes.left),
        code=1,
    )
    assert error_of(result) == "finding"
    assert not homes.left.exists()


@pytest.mark.parametrize("engine", [SOLO, COMET], ids=["solo", "comet"])
@pytest.mark.parametrize("command", ["replay", "audit"])
def test_a_chain_that_inherited_is_executed_again(homes: Homes, command: str, engine: int) -> None:
    made = ended(engine)
    new = (Network if engine == SOLO else Validated)(made.successor, inheritance=made.expected)
    new.block(new.transfer("alice", "bob"))
    new.end_epoch()
    (homes.new / GENESIS).unlink()
    write_home(homes.new, new)
    result = call("ledger", command, "--home", homes.new, code=1)
    assert error_of(result) == "inheritance_missing"
    homes.left.write_bytes(made.raw)
    shown = call_json("ledger", command, "--home", homes.new, "--inherit", homes.left)
    if command == "audit":
        assert shown["seals"] == (shown["blocks"] if engine == SOLO else 0)
    assert (shown["height"], shown["state_root"]) == (
        new.chain.tip.height,
        new.chain.tip.root.hex(),
    )
    (homes.new / INHERITANCE).write_bytes(made.raw)
    again = call_json("ledger", command, "--home", homes.new)
    assert again | {"seconds": shown["seconds"]} == shown
    # a balance that nobody had is found
    store = LevelStore(homes.new / "ledger", create=False)
    store.write({ACCOUNTS.letter + bytes(32): encode(Account(5, 0))})
    store.close()
    assert error_of(call("ledger", command, "--home", homes.new, code=1)) == "finding"


@pytest.mark.parametrize("command", ["replay", "audit"])
def test_a_file_that_is_named_does_not_vouch_for_itself(tmp_path: Path, command: str) -> None:
    """Past the trust period the user does; what lies in the home was looked at before."""
    network = Network(make_genesis(SHORT, policy=REGISTRY))
    successor = make_successor(network)
    announce(network, successor)
    move(network, successor)
    made = Ended(network, successor)
    new = Validated(successor, inheritance=made.expected)
    new.end_epoch()
    home, left = tmp_path / "home", tmp_path / "left"
    home.mkdir()
    write_home(home, new)
    left.write_bytes(made.raw)
    told = ("ledger", command, "--home", home)
    assert error_of(call(*told, "--inherit", left, code=1)) == "trust_expired"
    wrong, right = (
        " ".join((str(made.last.epoch), *fingerprint_words(named, made.expected.header)))
        for named in (new.hash, network.hash)
    )
    vouched = (*told, "--inherit", left, "--checkpoint")
    assert error_of(call(*vouched, wrong, code=1)) == "trust_expired"
    shown = call_json(*vouched, right)
    assert shown["state_root"] == new.chain.tip.root.hex()
    (home / INHERITANCE).write_bytes(made.raw)
    again = call_json(*told)
    assert again | {"seconds": shown["seconds"]} == shown


def test_a_genesis_file_says_whom_it_follows(homes: Homes) -> None:
    shown = call_json("genesis", "check", homes.following)
    assert shown["predecessor"] == homes.made.network.hash.hex()
    assert homes.made.network.hash.hex() in call("genesis", "check", homes.following).stdout

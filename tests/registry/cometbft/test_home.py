"""The home of CometBFT: what is written, what is left as it is, and what is refused."""

import base64
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import encode
from ledger.crypto import key_pair, sha256
from ledger.errors import Fault, Refusal
from ledger.messages.genesis import COMET, SOLO
from ledger.params import Params, preset
from registry.cometbft import home
from registry.cometbft.config import Begin
from registry.cometbft.home import CometHomeDiffers, bare_environment, has_begun, prepare
from registry.cometbft.keys import BadNodeKey
from registry.cometbft.trust import NoTrust
from registry.cometbft.version import NoCometbft
from registry.keystore import BadKeyFile
from tests.factory import START_MS, make_genesis
from tests.registry.cometbft.site import KEY, SEED, YOUNG, Site

PEER = f"{'ab' * 20}@127.0.0.1:26656"
OTHER = f"{'cd' * 20}@example.org:1"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def read_config(site: Site) -> dict[str, Any]:
    return tomllib.loads((site.home / "cometbft" / "config" / "config.toml").read_text())


def made(site: Site, **changes: Any) -> dict[str, Any]:
    """The settings that CometBFT gets."""
    prepare(site.settings(**changes), {}, START_MS)
    return read_config(site)


# --- genesis ------------------------------------------------------------------------------------


def test_the_genesis_file_says_what_ours_says(site: Site) -> None:
    prepare(site.settings(), {}, START_MS)
    document = json.loads((site.home / "cometbft" / "config" / "genesis.json").read_text())
    params = Params(*site.genesis.params)
    assert document == {
        "genesis_time": "2023-11-14T22:13:20.000Z",
        "chain_id": f"test-net-{site.network.hex()[:8]}",
        "initial_height": "1",
        "consensus_params": {
            "block": {
                "max_bytes": str(
                    params.max_block_bytes + 16 * params.max_block_transactions + 1_048_576
                ),
                "max_gas": "-1",
            },
            "evidence": {
                "max_age_num_blocks": str(-(-24 * params.epoch_ms // params.block_ms)),
                "max_age_duration": str(24 * params.epoch_ms * 10**6),
                "max_bytes": "1048576",
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "1"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {
                "address": sha256(KEY.public)[:20].hex().upper(),
                "pub_key": {
                    "type": "tendermint/PubKeyEd25519",
                    "value": base64.b64encode(KEY.public).decode(),
                },
                "power": "1",
                "name": "",
            }
        ],
        "app_hash": "",
        "app_state": {"genesis": site.network.hex()},
    }
    assert START_MS == 1_700_000_000_000


def test_a_time_keeps_its_milliseconds(tmp_path: Path) -> None:
    site = Site(tmp_path, start_ms=START_MS + 7)
    prepare(site.settings(), {}, START_MS)
    text = (site.home / "cometbft" / "config" / "genesis.json").read_text()
    assert json.loads(text)["genesis_time"] == "2023-11-14T22:13:20.007Z"


def test_the_longest_name_fits(tmp_path: Path) -> None:
    site = Site(tmp_path, name=b"n" * 40)
    prepare(site.settings(), {}, START_MS)
    text = (site.home / "cometbft" / "config" / "genesis.json").read_text()
    assert len(json.loads(text)["chain_id"]) == 49


# --- settings -----------------------------------------------------------------------------------


def test_everything_but_what_is_told_of_others(site: Site) -> None:
    config = made(site)
    params = Params(*site.genesis.params)
    assert config["proxy_app"] == "unix://run/abci.sock"
    assert config["rpc"] == {"laddr": "unix://run/cometbft.sock"}
    assert (site.home / "cometbft" / config["priv_validator_state_file"]).resolve() == site.votes
    assert config["p2p"]["laddr"] == "tcp://127.0.0.1:26656"
    assert config["p2p"]["persistent_peers"] == ""
    assert config["mempool"]["type"] == "flood"
    # what an order may allow at most, since CometBFT reads it once
    assert config["mempool"]["max_tx_bytes"] == 65_536 > params.max_transaction_bytes
    assert config["mempool"]["recheck"] is True
    assert config["tx_index"] == {"indexer": "null"}
    assert config["consensus"]["double_sign_check_height"] == 20
    assert "statesync" not in config


def test_what_is_told_of_others(site: Site) -> None:
    config = made(
        site,
        peers=(PEER, OTHER),
        p2p_host="::1",
        p2p_port=7,
        external_address="example.org:8",
        rpc="0.0.0.0:9",
    )
    assert config["p2p"]["persistent_peers"] == f"{PEER},{OTHER}"
    assert config["p2p"]["laddr"] == "tcp://[::1]:7"
    assert config["p2p"]["external_address"] == "example.org:8"
    assert config["rpc"]["laddr"] == "unix://run/cometbft.sock,tcp://0.0.0.0:9"


TIMES = {
    "mainnet": (10_000, "9000ms", "3000ms", "1000ms", "100ms", False),
    "testnet": (5_000, "4000ms", "3000ms", "1000ms", "100ms", False),
    "minimal": (1_000, "800ms", "1000ms", "500ms", "50ms", True),
    "fast": (100, "80ms", "1000ms", "300ms", "10ms", True),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_follow_the_time_of_a_block(tmp_path: Path, name: str) -> None:
    block_ms, commit, propose, vote, gossip, is_quick = TIMES[name]
    params = preset("minimal", {"block_ms": block_ms}) if name == "fast" else preset(name, {})
    site = Site(tmp_path)
    genesis = make_genesis(engine=COMET, producer=b"", params=tuple(params))
    (site.home / "genesis.bin").write_bytes(encode(genesis))
    config = made(site)
    consensus = config["consensus"]
    assert params.block_ms == block_ms
    assert consensus["timeout_commit"] == commit
    assert consensus["timeout_propose"] == propose
    assert (consensus["timeout_prevote"], consensus["timeout_precommit"]) == (vote, vote)
    assert consensus["peer_gossip_sleep_duration"] == gossip
    assert ("flush_throttle_timeout" in config["p2p"]) is is_quick
    # only where nodes may be on loopback, several may have one address
    local = bool(params.allow_loopback)
    assert local is (name in ("minimal", "fast"))
    assert (config["p2p"]["addr_book_strict"], config["p2p"]["allow_duplicate_ip"]) == (
        not local,
        local,
    )


# --- keys ---------------------------------------------------------------------------------------


def test_the_key_of_a_validator_stands_in_no_file(site: Site) -> None:
    prepared = prepare(site.settings(), {}, START_MS)
    key = json.loads(prepared.key)
    assert base64.b64decode(key["priv_key"]["value"]) == KEY.secret
    assert base64.b64decode(key["pub_key"]["value"]) == KEY.public
    assert key["address"] == sha256(KEY.public)[:20].hex().upper()
    for name, content in site.files().items():
        if name != "key.json":
            assert KEY.secret[:32] not in content, name
            assert key["priv_key"]["value"].encode() not in content, name
    assert not (site.home / "cometbft" / "config" / "priv_validator_key.json").exists()
    assert prepared.arguments == ("start", "--home", str(site.home / "cometbft"))
    assert prepared.program == site.program


def test_the_seed_that_was_handed_over_is_used(site: Site) -> None:
    site.key_file.unlink()
    with pytest.raises(BadKeyFile):
        prepare(site.settings(), {}, START_MS)
    key = json.loads(prepare(site.settings(), {site.key_file: SEED}, START_MS).key)
    assert base64.b64decode(key["pub_key"]["value"]) == KEY.public


def test_who_does_not_validate_gets_a_key_that_nobody_knows(site: Site) -> None:
    keys = {prepare(site.settings(validator=None), {}, YOUNG + 1).key for _ in range(2)}
    assert len(keys) == 2
    assert not site.votes.parent.exists()
    config = read_config(site)
    assert config["priv_validator_state_file"] == "data/priv_validator_state.json"
    assert config["consensus"]["double_sign_check_height"] == 0
    note = site.home / "cometbft" / "data" / "priv_validator_state.json"
    assert json.loads(note.read_text()) == {"height": "0", "round": 0, "step": 0}


def test_a_node_keeps_its_name(site: Site) -> None:
    first = prepare(site.settings(), {}, START_MS)
    path = site.home / "cometbft" / "config" / "node_key.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = base64.b64decode(json.loads(path.read_text())["priv_key"]["value"])
    pair = key_pair(secret[:32])
    assert secret == pair.secret
    assert first.node_id == sha256(pair.public)[:20].hex()
    assert prepare(site.settings(), {}, START_MS).node_id == first.node_id
    path.unlink()
    assert prepare(site.settings(), {}, START_MS).node_id != first.node_id


BROKEN = {
    "no JSON": b"{",
    "deep JSON": b"[" * 100_000,
    "no key": b"{}",
    "no object": b"[1]",
    "half a key": json.dumps(
        {"priv_key": {"type": "tendermint/PrivKeyEd25519", "value": 43 * "A" + "="}}
    ).encode(),
    "another kind": json.dumps(
        {"priv_key": {"type": "other", "value": base64.b64encode(KEY.secret).decode()}}
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_node_key_is_refused(site: Site, content: bytes) -> None:
    path = site.home / "cometbft" / "config" / "node_key.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(BadNodeKey, match=r"node_key\.json is no key of a node"):
        prepare(site.settings(), {}, START_MS)
    assert path.read_bytes() == content


def test_the_environment_tells_cometbft_where_its_key_is_and_nothing_else() -> None:
    variables = {"PATH": "/bin", "CMT_LOG_LEVEL": "debug", "CMTHOME": "/x", "TMHOME": "/y"}
    assert bare_environment(variables) == {"PATH": "/bin"}


def test_the_variable_names_the_pipe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMT_P2P_LADDR", "tcp://0.0.0.0:1")
    environment = prepare(site.settings(), {}, START_MS).environment(7)
    assert environment["CMT_PRIV_VALIDATOR_KEY_FILE"] == "/dev/fd/7"
    assert [name for name in environment if name.startswith("CMT")] == [
        "CMT_PRIV_VALIDATOR_KEY_FILE"
    ]


# --- again and again ----------------------------------------------------------------------------


def test_a_second_time_writes_the_same(site: Site) -> None:
    prepare(site.settings(), {}, START_MS)
    before = site.files()
    prepare(site.settings(), {}, START_MS)
    assert site.files() == before
    assert set(before) >= {
        "cometbft/config/config.toml",
        "cometbft/config/genesis.json",
        "cometbft/config/node_key.json",
    }


def test_what_a_killed_one_left_is_cleared_away(site: Site) -> None:
    prepare(site.settings(), {}, START_MS)
    left = [
        site.home / "run" / "abci.sock",
        site.home / "run" / "cometbft.sock",
        site.home / "cometbft" / "config" / "write-file-atomic-1",
        site.home / "watermarks" / "write-file-atomic-22",
    ]
    before = site.files()
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("left")
    prepare(site.settings(), {}, START_MS)
    assert site.files() == before


def test_another_genesis_file_is_refused_and_nothing_is_changed(site: Site) -> None:
    prepare(site.settings(), {}, START_MS)
    other = make_genesis(engine=COMET, producer=b"", name=b"other", start_ms=START_MS)
    (site.home / "genesis.bin").write_bytes(encode(other))
    before = site.files()
    with pytest.raises(CometHomeDiffers, match=r"genesis\.json is of another network"):
        prepare(site.settings(), {}, START_MS)
    assert site.files() == before


def test_a_network_with_a_producer_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (site.home / "genesis.bin").write_bytes(encode(make_genesis(engine=SOLO)))
    with pytest.raises(CometHomeDiffers, match="has one producer and no validators"):
        prepare(site.settings(), {}, START_MS)
    assert not (site.home / "cometbft").exists()


def test_a_genesis_file_that_breaks_a_rule_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, policy=9)
    with pytest.raises(Refusal, match="policy"):
        prepare(site.settings(), {}, START_MS)
    assert not (site.home / "cometbft").exists()


def test_without_a_genesis_file(site: Site) -> None:
    (site.home / "genesis.bin").unlink()
    with pytest.raises(Fault, match="there is no genesis file"):
        prepare(site.settings(), {}, START_MS)


def test_without_cometbft_nothing_is_written(site: Site) -> None:
    before = site.files()
    with pytest.raises(NoCometbft):
        prepare(site.settings(cometbft=site.home / "nowhere"), {}, START_MS)
    assert site.files() == before


# --- to begin with a snapshot -------------------------------------------------------------------

SYNC = {"state_sync": ("http://127.0.0.1:1",), "lists": ("http://127.0.0.1:2",)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of others; the answer is block 12."""
    calls: list[tuple[Any, ...]] = []

    def find_trust(*arguments: Any) -> Begin:
        calls.append(arguments)
        return Begin(12, bytes(range(32)))

    monkeypatch.setattr(home, "find_trust", find_trust)
    return calls


def test_a_snapshot_is_looked_for_from_a_block_that_is_trusted(
    site: Site, asked: list[tuple[Any, ...]]
) -> None:
    section = made(site, validator=None, **SYNC)["statesync"]
    chain = f"test-net-{site.network.hex()[:8]}"
    assert asked == [(site.raw, chain, SYNC["lists"], SYNC["state_sync"], START_MS)]
    assert section["enable"] is True
    # CometBFT wants a witness too
    assert section["rpc_servers"] == "http://127.0.0.1:1,http://127.0.0.1:1"
    assert section["trust_height"] == 12
    assert section["trust_hash"] == bytes(range(32)).hex().upper()
    assert section["trust_period"] == f"{Params(*site.genesis.params).trust_ms}ms"


def test_two_servers_are_each_others_witness(site: Site, asked: list[tuple[Any, ...]]) -> None:
    servers = ("http://127.0.0.1:1", "https://example.org")
    section = made(site, validator=None, **SYNC | {"state_sync": servers})["statesync"]
    assert section["rpc_servers"] == ",".join(servers)


def test_who_has_begun_asks_nobody(site: Site, asked: list[tuple[Any, ...]]) -> None:
    settings = site.settings(validator=None, **SYNC)
    wal = site.home / "cometbft" / "data" / "cs.wal" / "wal"
    wal.parent.mkdir(parents=True)
    assert not has_begun(settings)
    wal.touch()
    assert has_begun(settings)
    assert "statesync" not in made(site, validator=None, **SYNC)
    assert asked == []


def test_who_may_have_begun_goes_on_whatever_others_say(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_trust(*_arguments: Any) -> Begin:
        raise NoTrust("nobody answers")

    monkeypatch.setattr(home, "find_trust", find_trust)
    with pytest.raises(NoTrust):
        prepare(site.settings(validator=None, **SYNC), {}, START_MS)
    (site.home / "ledger").mkdir()
    assert "statesync" not in made(site, validator=None, **SYNC)


def test_without_a_list_nothing_says_what_is_right(
    site: Site, asked: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(Fault, match="needs a service whose signed list"):
        prepare(site.settings(validator=None, state_sync=SYNC["state_sync"]), {}, START_MS)
    assert asked == []

"""What the other pages show is what the API tells, and what the ledger holds."""

import pytest

from ledger.messages.lists import is_final
from ledger.rules.swarms import nearest_swarm, position_of
from registry.addresses import encode_account, encode_node
from registry.amounts import format_amount
from registry.evidence import check_evidence
from registry.web.show import show_code, show_coins, show_left, show_percent, show_short, show_time
from tests.registry.api.fake_ledger import make_view
from tests.registry.web.explored import CHAIN, EPOCHS, Explored, Site, key_of
from tests.registry.web.markup import Read


def text_of(site: Site, path: str) -> str:
    """The text of a page."""
    answer = site.get(path)
    assert answer.status_code == 200
    return Read(answer.text).text


def rows_of(site: Site, path: str) -> list[str]:
    """What the rows of a page's tables are about."""
    return [
        e.attributes["data-row"]
        for e in Read(site.get(path).text).named("tr")
        if "data-row" in e.attributes
    ]


def explored(site: Site) -> Explored:
    """The ledger behind a site."""
    assert isinstance(site.ledger, Explored)
    return site.ledger


# ---- The network ----


def test_the_network_in_one_page(site: Site) -> None:
    network = site.client.get("/v1/network").json()
    page = site.get("/").text
    text = Read(page).text
    assert f"Epoch {EPOCHS} ends in" in text
    for wanted in (
        CHAIN,
        format_amount(int(network["pool"])),
        f"{network['nodes']['active']} {network['earning']} earn, in {network['swarms']} swarms",
        f"Height {network['height']}",
        "3 of 3 weight signed",
        network["genesis_hash"],
    ):
        assert wanted in text
    # the countdown stands there before a program counts
    ends = [e.attributes["data-ends"] for e in Read(page).elements if "data-ends" in e.attributes]
    assert ends == [str(network["epoch_ends_ms"])]
    # and the twelve words, in order
    assert " ".join(network["fingerprint"]) in text
    assert "<svg" in page
    assert "single signer" not in text


def test_every_state_is_counted(site: Site) -> None:
    counts = site.client.get("/v1/network").json()["nodes"]
    assert rows_of(site, "/") == list(counts)
    text = text_of(site, "/")
    for name, count in counts.items():
        assert f"{name} {count} " in text


def test_a_single_signer_is_named_wherever_lists_are(small: Site) -> None:
    portal = small.client.portal
    assert portal is not None
    assert "single signer" not in text_of(small, "/")
    portal.call(small.ledger.push, make_view(9_000, network={"single_signer": True}))
    assert "single signer" in text_of(small, "/")
    small.ledger.results["attestors"] |= {"single_signer": True}
    assert "One attestor alone can sign lists" in text_of(small, "/attestors")


def test_a_list_that_is_not_fresh_is_told(small: Site) -> None:
    late = "the newest final list is not fresh"
    assert late not in text_of(small, "/")
    assert small.now_ms is not None
    small.now_ms += 10**9
    assert late in text_of(small, "/")


def test_before_the_first_final_list(small: Site) -> None:
    portal = small.client.portal
    assert portal is not None
    network = {"latest_final": None, "fingerprint": None}
    portal.call(small.ledger.push, make_view(9_000, network=network, latest=None))
    assert "No list is final yet" in text_of(small, "/")
    assert small.get("/verify").status_code == 200


def test_attestors(site: Site) -> None:
    assert rows_of(site, "/attestors") == ["0", "1", "2"]
    assert text_of(site, "/attestors").count(" signed ") >= 3


# ---- Epochs ----


def test_epochs_come_page_by_page(site: Site) -> None:
    newest = [str(epoch) for epoch in range(EPOCHS - 1, -1, -1)]
    assert rows_of(site, "/epochs") == newest
    assert rows_of(site, "/epochs?before=3") == ["2", "1", "0"]
    assert f"/epochs?before={EPOCHS}" in Read(site.get("/epochs?before=3").text).links()
    assert rows_of(site, "/epochs?before=99999") == newest


@pytest.mark.parametrize("epoch", [0, 5, EPOCHS - 1])
def test_an_epoch(site: Site, epoch: int) -> None:
    shown = site.client.get(f"/v1/epochs/{epoch}").json()
    text = text_of(site, f"/epochs/{epoch}")
    assert " ".join(shown["fingerprint"]) in text
    for value in (shown["header"]["hash"], shown["header"]["list_hash"]):
        assert value in text
    assert is_final(len(shown["signatures"]), 3) == ("not final yet" not in text)


# ---- Blocks and transactions ----


def test_blocks_come_page_by_page(site: Site) -> None:
    height = explored(site).network.chain.tip.height
    assert rows_of(site, "/blocks")[:2] == [str(height), str(height - 1)]
    assert rows_of(site, "/blocks?before=4") == ["3", "2", "1"]
    assert rows_of(site, "/blocks?before=1") == []
    seen = rows_of(site, "/blocks") + rows_of(site, f"/blocks?before={height - 24}")
    assert seen == [str(number) for number in range(height, 0, -1)]


def test_a_block_leads_to_its_transactions(site: Site) -> None:
    chain = explored(site).network
    block = chain.blocks[1]
    text = text_of(site, "/blocks/2")
    assert block.header.state_root.hex() in text
    links = [link for link in Read(site.get("/blocks/2").text).links() if "transactions/" in link]
    assert len(links) == len(block.transactions)
    told = " ".join(text_of(site, link) for link in links)
    assert "1.5 coins" in told  # the transfer
    assert "contribute" in told
    named = {place for link in links for place in Read(site.get(link).text).links()}
    assert f"/accounts/{encode_account(key_of('alice'))}" in named
    assert f"/nodes/{encode_node(key_of('shared'))}" in named


# ---- Accounts ----


def test_an_account(site: Site) -> None:
    erin = encode_account(key_of("erin"))
    account = site.client.get(f"/v1/accounts/{erin}").json()
    text = text_of(site, f"/accounts/{erin}")
    staked = {stake["node"]: int(stake["amount"]) for stake in account["stakes"]}
    assert encode_node(key_of("shared")) in staked
    waiting = {row["node"] for row in account["rewards"]}
    assert rows_of(site, f"/accounts/{erin}") == sorted(staked.keys() | waiting)
    total, count = sum(staked.values()) // 10**9, len(staked.keys() | waiting)
    assert f"{total:,} coins in {count} nodes" in text
    assert show_coins(account["balance"]) in text
    assert show_coins(account["claimable"]) in text


def test_an_account_without_anything(site: Site) -> None:
    text = text_of(site, f"/accounts/{encode_account(key_of('a stranger'))}")
    assert "It has no stake in any node" in text


@pytest.mark.parametrize("form", ["address", "hex"])
def test_an_address_that_was_typed_leads_to_its_account(site: Site, form: str) -> None:
    key = key_of("erin")
    typed = encode_account(key) if form == "address" else key.hex().upper()
    answer = site.get(f"/accounts?address=%20{typed}%20")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/accounts/{encode_account(key)}",
    )


# ---- Swarms ----


@pytest.mark.parametrize(
    "account",
    ["05" + "39" + 31 * "00", "c1" + 31 * "00", "15" + 8 * "7f" + 24 * "00", "05" + 32 * "ab"],
)
def test_an_account_stands_beside_its_swarm(site: Site, account: str) -> None:
    nodes = site.client.get("/v1/nodes?limit=200&state=active").json()["nodes"]
    swarms = sorted({int(node["swarm"]) for node in nodes})
    nearest = nearest_swarm(swarms, position_of(bytes.fromhex(account)[-32:]))
    page = site.get(f"/swarms?account={account}").text
    assert f"nearest swarm {nearest} Members" in Read(page).text
    members = {node["key"] for node in nodes if int(node["swarm"]) == nearest}
    assert 0 < len(members) < len(nodes)
    links = Read(page).links()
    named = {link.removeprefix("/nodes/") for link in links if link.startswith("/nodes/wpn1")}
    assert named == members
    marked = [e for e in Read(page).named("circle") if "nearest" in e.attributes.get("class", "")]
    assert len(marked) == 1
    assert rows_of(site, f"/swarms?account={account}") == [str(swarm) for swarm in swarms]


def test_a_swarm_shows_its_members(site: Site) -> None:
    nodes = site.client.get("/v1/nodes?limit=200&state=active").json()["nodes"]
    for swarm in {node["swarm"] for node in nodes}:
        members = {node["key"] for node in nodes if node["swarm"] == swarm}
        assert set(rows_of(site, f"/swarms/{swarm}")) == members


# ---- Reports ----


def test_a_report_proves_itself(site: Site) -> None:
    assert rows_of(site, "/reports") == ["3/0"]
    text = text_of(site, "/reports/3/0")
    assert "signed two votes on the node" in text
    assert "1 coin of its stake" in text
    file = site.get("/reports/3/0/evidence")
    assert file.headers["content-disposition"] == 'attachment; filename="evidence-3-0.bin"'
    assert file.headers["content-type"] == "application/octet-stream"
    proven = check_evidence(file.content, explored(site).network.hash)
    assert proven.offender.key == key_of("town 1 duty")
    assert f"Download {len(file.content)} bytes" in text


def test_the_genesis_file_is_that_of_the_network(site: Site) -> None:
    """What the page verifies from."""
    raw = site.client.get("/v1/genesis").content
    assert explored(site).network.raw == raw


# ---- How things look ----


def test_amounts_times_and_keys() -> None:
    assert show_coins("1234567000000001") == "1,234,567.000000001 coins"
    assert show_coins(10**9) == "1 coin"
    assert show_short("wpn1" + 58 * "q") == "wpn1qqqqqq…qqqqqq"
    assert show_short("short") == "short"
    assert show_time(0) == '<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00:00 UTC</time>'
    assert show_time(2**62) == f"<span>{2**62} ms</span>"
    assert (show_left(90_000, 0), show_left(0, 90_000)) == ("in 90 s", "90 s ago")
    assert (show_percent(2, 3), show_percent(1, 3), show_percent(1, 0)) == ("67 %", "33 %", "0 %")
    assert show_code("a `b<` & c") == "a <code>b&lt;</code> &amp; c"

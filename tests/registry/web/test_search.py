"""What is typed into the search leads to the page that shows it."""

import pytest

from registry.addresses import encode_account, encode_node
from tests.registry.web.explored import EPOCHS, Explored, Site, key_of
from tests.registry.web.markup import Read

NODE = encode_node(key_of("town 2"))
ACCOUNT = encode_account(key_of("erin"))
SWARM = 13_835_058_055_282_163_711

LEADS: dict[str, str] = {
    NODE: f"/nodes/{NODE}",
    NODE.upper(): f"/nodes/{NODE}",
    f"  {ACCOUNT} ": f"/accounts/{ACCOUNT}",
    key_of("town 2").hex(): f"/nodes/{NODE}",
    key_of("erin").hex().upper(): f"/accounts/{ACCOUNT}",
    NODE[:14]: f"/nodes/{NODE}",
    "30": "/blocks/30",
    str(SWARM): f"/swarms/{SWARM}",
    "epoch 3": "/epochs/3",
    "Block 3": "/blocks/3",
    "height12": "/blocks/12",
    f"swarm {SWARM}": f"/swarms/{SWARM}",
    "05" + 32 * "ab": f"/swarms?account=05{32 * 'ab'}",
    64 * "9": f"/swarms?account={64 * '9'}",
    "5.6.7.111": f"/nodes/{encode_node(key_of('crowd 11'))}",
    "5.6.7.8": "/nodes?q=5.6.7.8",
}


@pytest.mark.parametrize("text", LEADS)
def test_what_is_typed_leads_to_its_page(site: Site, text: str) -> None:
    answer = site.client.get("/search", params={"q": text}, follow_redirects=False)
    assert (answer.status_code, answer.headers.get("location")) == (303, LEADS[text])
    assert site.get(LEADS[text]).status_code == 200


def test_hashes_and_words_lead_to_their_pages(site: Site) -> None:
    assert isinstance(site.ledger, Explored)
    network = site.client.get("/v1/network").json()
    block = site.client.get("/v1/blocks/12").json()
    early = site.client.get("/v1/blocks/1").json()
    final = network["latest_final"]["epoch"]
    leads = {
        network["genesis_hash"]: "/verify",
        network["latest_final"]["hash"]: f"/epochs/{final}",
        " ".join(network["fingerprint"]): f"/epochs/{final}",
        block["hash"]: "/blocks/12",
        early["transactions"][0]["hash"]: f"/transactions/{early['transactions'][0]['hash']}",
    }
    for text, wanted in leads.items():
        answer = site.client.get("/search", params={"q": text}, follow_redirects=False)
        assert answer.headers.get("location") == wanted


def test_what_may_be_several_things_is_offered(site: Site) -> None:
    page = site.get("/search?q=3").text
    links = Read(page).links()
    assert "/blocks/3" in links
    assert "/epochs/3" in links
    assert "may be" in page
    assert f"/epochs/{EPOCHS}" not in Read(site.get(f"/search?q={EPOCHS}").text).links()


@pytest.mark.parametrize(
    "text", ["", "nothing like it", "99999", f"{NODE[:-1]}q", "twelve words " * 6, "wpn1b"]
)
def test_what_is_not_found_is_said(site: Site, text: str) -> None:
    answer = site.client.get("/search", params={"q": text}, follow_redirects=False)
    assert answer.status_code == 200
    assert ("Nothing here is like" in answer.text) == bool(text)

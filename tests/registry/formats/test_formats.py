"""The table of formats: what each file is made from, and how it is called."""

from ledger.messages.entries import pack_columns
from registry.formats import FORMATS, Source
from registry.formats.full import encode_full
from registry.formats.session_binary import MAX_SESSION_BINARY_BYTES, encode_session_binary
from registry.formats.session_json import MAX_SESSION_JSON_BYTES, encode_session_json
from tests.registry.client.factory import make_entries
from tests.registry.session_network import make_session_node

SOURCE = Source(pack_columns(make_entries()), 720, [make_session_node(1), make_session_node(2)])


def test_a_row_makes_its_file_from_the_parts_that_it_names() -> None:
    assert {name: row.make(SOURCE) for name, row in FORMATS.items()} == {
        "full": encode_full(SOURCE.columns),
        "session-json": encode_session_json(SOURCE.height, SOURCE.nodes),
        "session-binary": encode_session_binary(SOURCE.nodes),
    }


def test_names_are_those_of_paths_and_files() -> None:
    assert all(name == row.name for name, row in FORMATS.items())
    assert {name: row.media_type for name, row in FORMATS.items()} == {
        "full": "application/vnd.waypost.full",
        "session-json": "application/json",
        "session-binary": "application/octet-stream",
    }


def test_only_what_a_header_covers_can_be_checked() -> None:
    assert [name for name, row in FORMATS.items() if row.decode is not None] == ["full"]


def test_the_largest_files_are_bounded() -> None:
    assert FORMATS["session-json"].max_bytes == MAX_SESSION_JSON_BYTES == 2**26
    assert FORMATS["session-binary"].max_bytes == MAX_SESSION_BINARY_BYTES == 51 * 2**18
    # an entry with the longest values that there are
    widest = make_session_node(
        public_ip="255.255.255.255",
        storage_port=65_535,
        storage_lmq_port=65_535,
        requested_unlock_height=2**63 - 1,
        swarm_id=2**64 - 2,
        storage_server_version=(255, 255, 255),
        service_node_version=(255, 255, 255),
    )
    one, two = (len(encode_session_json(0, [widest] * count)) for count in (1, 2))
    assert 160_000 * (two - one) < MAX_SESSION_JSON_BYTES

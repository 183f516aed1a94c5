"""What is pushed: nodes in pieces that a frame holds."""

import msgspec
import pytest

from registry import view
from registry.ipc import MAX_FRAME_BYTES, decode, frame
from registry.view import PushedNodes, cut_nodes
from tests.registry.api.fake_ledger import make_node
from tests.registry.session_network import make_key

ROWS = [make_node(number) for number in range(7)]


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (2, [2]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])]
)
@pytest.mark.parametrize("first", [True, False])
def test_pieces(monkeypatch: pytest.MonkeyPatch, count: int, sizes: list[int], first: bool) -> None:
    monkeypatch.setattr(view, "MAX_PUSHED_ROWS", 3)
    pieces = list(cut_nodes(ROWS[:count], [make_key(8)], first=first))
    assert [len(piece.rows) for piece in pieces] == sizes
    assert [row for piece in pieces for row in piece.rows] == ROWS[:count]
    # to forget, and to remove, is told once, before any row
    rest = len(sizes) - 1
    assert [piece.first for piece in pieces] == [first, *([False] * rest)]
    assert [piece.removed for piece in pieces] == [[make_key(8).hex()], *([[]] * rest)]


def test_a_piece_is_the_same_on_the_far_side() -> None:
    [piece] = cut_nodes(ROWS, [make_key(8)], first=True)
    event, payload = decode(frame([0, "nodes", piece])[4:])[1:]
    assert event == "nodes"
    assert payload["rows"][0]["pubkey_ed25519"] == ROWS[0].pubkey_ed25519
    assert msgspec.convert(payload, PushedNodes) == piece


def test_a_full_piece_fits_a_frame_many_times() -> None:
    [piece] = cut_nodes([ROWS[0]] * view.MAX_PUSHED_ROWS)
    assert 8 * len(frame([0, "nodes", piece])) < MAX_FRAME_BYTES

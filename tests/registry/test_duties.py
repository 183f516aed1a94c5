"""Who tests whom and who takes part, against a count by hand."""

from collections import Counter
from collections.abc import Iterator

import pytest

from ledger.history import VERDICT_ROW
from ledger.messages.tables import EPOCH, NODES, PARAMS, SETS
from ledger.transactions.judge import get_quorum
from ledger.types import Key
from registry import duties as module
from registry.addresses import encode_node
from registry.duties import Duties, count_headers, show_duty, show_own_participation
from tests.factory import ATTESTORS, SHORT_TIMES, Network, links, public
from tests.life import FAULTY, judge, running, seats, set_attestors, set_params
from tests.registry.factory import in_loop
from tests.registry.town import NODES_NAMES, TESTERS, THRESHOLD, lives, make_town


def quorums_of(network: Network) -> Iterator[tuple[Key, tuple[Key, ...]]]:
    """Every node that is tested in the running epoch, and its testers."""
    epoch = running(network)
    for key, node in network.state.items(NODES):
        if 0 < node.tested_from <= epoch:
            yield key, get_quorum(network.state, epoch, key)


def test_whom_a_node_tests_is_who_is_tested_by_it() -> None:
    network, duties = make_town(), Duties()
    seen = set()
    for raws, ms in lives(network):
        network.block(*raws, ms=ms)
        quorums = dict(quorums_of(network))
        for key, _ in network.state.items(NODES):
            assert duties.testers_of(network.view, key) == quorums.get(key, ())
            expected = tuple(node for node, quorum in quorums.items() if key in quorum)
            assert duties.tested_by(network.view, key) == expected
            seen.add(len(expected) > 0)
    assert seen == {True, False}


def test_an_epoch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, duties = make_town(), Duties()
    drawn: list[Key] = []
    real = module._draw

    def draw(members: object, roster: object, key: Key, operator: Key) -> tuple[Key, ...]:
        drawn.append(key)
        return real(members, roster, key, operator)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_draw", draw)
    for _ in range(3):
        for name in NODES_NAMES:
            duties.tested_by(network.view, public(name))
        network.block()
    assert len(drawn) == len(NODES_NAMES)
    network.end_epoch()
    duties.tested_by(network.view, public(NODES_NAMES[0]))
    assert len(drawn) == 2 * len(NODES_NAMES)


@in_loop
async def test_what_was_prepared_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, duties = make_town(), Duties()
    network.block(judge(network, NODES_NAMES[0], FAULTY))
    network.end_epoch()
    await duties.prepare(network.view, 16, assignments=True)
    expected = Duties().count(network.view, 16)

    def refuse(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(module, "_draw", refuse)
    monkeypatch.setattr(module, "VERDICT_ROW", None)
    assert duties.count(network.view, 16) == expected
    assert any(duties.tested_by(network.view, public(name)) for name in NODES_NAMES)


# ------------------------------------------------------------------------------ taking part


def test_taking_part_is_what_verdicts_carry() -> None:
    network, duties = make_town(removal_floor=0, removal_share=0), Duties()
    drawn: dict[int, Counter[Key]] = {}
    voted: dict[int, Counter[Key]] = {}
    for number in range(7):
        epoch = running(network)
        drawn[epoch], voted[epoch] = Counter(), Counter()
        # an epoch without a verdict counts for nobody
        for place, name in enumerate(NODES_NAMES[:number]):
            count = THRESHOLD + place % 2
            network.block(judge(network, name, FAULTY, count=count))
            quorum = get_quorum(network.state, epoch, public(name))
            drawn[epoch].update(quorum)
            voted[epoch].update(quorum[:count])
        for epochs in (1, 2, 3, 16):
            wanted = range(epoch - epochs + 1, epoch + 1)
            all_drawn = sum((drawn.get(e, Counter()) for e in wanted), Counter())
            all_voted = sum((voted.get(e, Counter()) for e in wanted), Counter())
            tallies = duties.count(network.view, epochs)
            assert {key: row.drawn for key, row in tallies.items()} == all_drawn
            assert {key: row.voted for key, row in tallies.items() if row.voted} == all_voted
        network.end_epoch()


def test_a_verdict_of_a_closed_epoch_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, duties = make_town(removal_floor=0, removal_share=0), Duties()
    for _ in range(4):
        network.block(judge(network, NODES_NAMES[0], FAULTY))
        network.end_epoch()
    duties.count(network.view, 16)
    network.block()
    read: list[bytes] = []
    real = VERDICT_ROW

    class Counting:
        @staticmethod
        def load(raw: bytes) -> object:
            read.append(raw)
            return real.load(raw)

    monkeypatch.setattr(module, "VERDICT_ROW", Counting)
    duties.count(network.view, 16)
    # the one of the epoch before may still become more
    assert len(read) == 1


def test_attestors_sign_headers() -> None:
    network = make_town()
    signed = Counter[int]()
    # nobody signed the header of epoch 0
    frozen = 1
    network.end_epoch()
    for number in range(5):
        indexes = range(number % 4)
        network.block(*(network.attest(index) for index in indexes))
        assert count_headers(network.view, 16) == (frozen, [signed[index] for index in range(3)])
        network.end_epoch()
        frozen += 1
        signed.update(indexes)
    assert count_headers(network.view, 2)[0] == 2
    assert count_headers(network.view, 16) == (frozen, [signed[index] for index in range(3)])


def test_headers_of_another_set_do_not_count() -> None:
    network = make_town()
    network.attesting = True
    network.end_epoch()
    kept = network.state.one(SETS).current[:2]
    links(public("newcomer"))
    network.block(set_attestors(network, seats(network, "newcomer", kept=kept), "leo"))
    before = None
    for _ in range(16):
        network.end_epoch()
        current = [seat.list_key for seat in network.state.one(SETS).current]
        headers, signed = count_headers(network.view, 16)
        assert len(signed) == len(current) == 3
        assert all(count <= headers for count in signed)
        if public("newcomer") in current and before is None:
            before = headers
    assert before == 0
    assert set(current) == {*(seat.list_key for seat in kept), public("newcomer")}
    assert headers > 0
    assert len(ATTESTORS) == 3


def test_of_one_node() -> None:
    network, duties = make_town(), Duties()
    network.block(judge(network, NODES_NAMES[0], FAULTY, count=THRESHOLD))
    quorum = get_quorum(network.state, 1, public(NODES_NAMES[0]))
    shown = [show_own_participation(network.view, duties, key, b"", 16) for key in quorum]
    assert [(row["drawn"], row["voted"]) for row in shown] == [(1, 1)] * THRESHOLD + [(1, 0)]
    outside = public(NODES_NAMES[0])
    row = show_own_participation(network.view, duties, outside, public(ATTESTORS[0]), 16)
    assert (row["drawn"], row["voted"], row["headers"], row["signed"]) == (0, 0, 0, 0)
    assert shown[0]["headers"] is None
    everybody = module.show_participation(network.view, duties, 16)
    assert {row["node"] for row in everybody["testers"]} == set(map(encode_node, quorum))
    assert [row["index"] for row in everybody["attestors"]] == [0, 1, 2]


# ------------------------------------------------------------------------- the network's duty


COVERAGE: dict[str, tuple[int, str]] = {
    "nobody": (0, "none"),
    "one too few for anybody": (TESTERS - 1, "none"),
    "enough for those without a node": (TESTERS, "some"),
    "enough for everybody": (TESTERS + 1, "all"),
}


@pytest.mark.parametrize(("count", "coverage"), COVERAGE.values(), ids=COVERAGE.keys())
def test_which_nodes_have_a_quorum(count: int, coverage: str) -> None:
    network = make_town(NODES_NAMES[:count])
    shown = show_duty(network.view, Duties(), 0)
    assert shown["quorums"] == coverage
    assert (shown["quorum_testers"], shown["quorum_threshold"]) == (TESTERS, THRESHOLD)
    has_testers = [bool(quorum) for _, quorum in quorums_of(network)]
    assert all(has_testers) == (coverage == "all" or not count)
    assert network.state.one(EPOCH).epoch == 1


def test_how_many_may_be_down() -> None:
    network = make_town(removal_floor=2, removal_share=0)
    shown = show_duty(network.view, Duties(), 3)
    # three more that are down make eleven
    assert (shown["nodes_down"], shown["most_down"], shown["removal_limit"]) == (3, 2, 2)


def test_changes_of_rules_are_shown_until_they_are_in_force() -> None:
    network, duties = make_town(**SHORT_TIMES), Duties()
    network.attesting = True
    quiet = show_duty(network.view, duties, 0)
    names = ("parameters_change_ms", "attestors_change", "grace_until_ms")
    assert [quiet[name] for name in names] == [None, None, None]
    raw = set_params(network, "leo", minimum_fee=2_000)
    network.block(raw)
    shown = show_duty(network.view, duties, 0)
    assert shown["parameters_change_ms"] == network.state.one(PARAMS).from_ms > 0
    kept = network.state.one(SETS).current[:2]
    network.block(set_attestors(network, seats(network, "newcomer", kept=kept), "leo"))
    seen = [show_duty(network.view, duties, 0)["attestors_change"]]
    graces = []
    for _ in range(20):
        network.end_epoch()
        shown = show_duty(network.view, duties, 0)
        seen.append(shown["attestors_change"])
        graces.append(shown["grace_until_ms"])
    assert list(dict.fromkeys(seen)) == ["ordered", "announced", None]
    record = network.state.one(PARAMS)
    assert record.changed_ms > 0
    assert show_duty(network.view, duties, 0)["parameters_change_ms"] is None
    in_force = [grace for grace in graces if grace is not None]
    assert set(in_force) == {record.changed_ms + network.params.grace_ms}
    # it ends
    assert graces[-1] is None

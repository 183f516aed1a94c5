"""What a genesis file says, for people and for programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.amounts import format_amount, format_in_unit, format_time
from registry.cli.output import Table, align, format_table

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis, GenesisAttestor


def describe(raw: bytes) -> dict[str, Any]:
    """Return what a genesis file says, for programs. Refuses like `load_genesis`."""
    from ledger.crypto import sha256
    from ledger.genesis import compute_supply, load_genesis
    from ledger.messages.genesis import ENGINES
    from ledger.params import PARAMETERS
    from registry.addresses import encode_account

    genesis = load_genesis(raw)
    balances = [(encode_account(row.account), row.balance) for row in genesis.accounts]
    return {
        "name": genesis.name.decode(),
        "hash": sha256(raw).hex(),
        "start_ms": genesis.start_ms,
        "engine": ENGINES[genesis.engine],
        "producer": genesis.producer.hex(),
        "policy": _policy_name(genesis),
        "seed": genesis.seed.hex(),
        "supply": str(compute_supply(genesis)),
        "pool": str(genesis.pool),
        "attestors": [_describe_seat(seat) for seat in genesis.attestors],
        "single_signer": _is_single_signer(genesis),
        "recovery": [key.hex() for key in genesis.recovery],
        "accounts": [{"account": account, "balance": str(units)} for account, units in balances],
        "nodes": _describe_nodes(genesis),
        "parameters": {
            row.name: {"value": str(value), "unit": row.unit}
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
        },
        "predecessor": genesis.predecessor.hex(),
        "differs_from_preset": dict(zip(("preset", "in"), _nearest_preset(genesis), strict=True)),
    }


def _describe_seat(seat: "GenesisAttestor") -> dict[str, Any]:
    from registry.addresses import encode_node

    return {
        "list_key": seat.list_key.hex(),
        "weight": seat.weight,
        "tip": seat.tip.hex(),
        "consensus_key": seat.consensus_key.hex(),
        "node": encode_node(seat.node) if seat.node else "",
    }


def _policy_name(genesis: "Genesis") -> str:
    from ledger.messages.genesis import REGISTRY

    return "registry" if genesis.policy == REGISTRY else "fixed"


def _describe_nodes(genesis: "Genesis") -> dict[str, int]:
    from ledger.messages.genesis import NEW_SWARM

    return {
        "count": len(genesis.nodes),
        "operators": len({row.operator for row in genesis.nodes}),
        "with_swarm": sum(row.swarm_id != NEW_SWARM for row in genesis.nodes),
        "leaving": sum(bool(row.exit_ms) for row in genesis.nodes),
    }


def _is_single_signer(genesis: "Genesis") -> bool:
    from ledger.messages.lists import has_single_signer

    return has_single_signer([seat.weight for seat in genesis.attestors])


def _nearest_preset(genesis: "Genesis") -> tuple[str, list[str]]:
    """Return the preset that has most values in common, and the parameters that differ."""
    from ledger.params import PARAMETERS, PRESETS

    differing = [
        [
            row.name
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
            if row.presets[column] != value
        ]
        for column in range(len(PRESETS))
    ]
    nearest = min(range(len(PRESETS)), key=lambda column: len(differing[column]))
    return PRESETS[nearest], differing[nearest]


def _format_nodes(genesis: "Genesis") -> list[tuple[str, str]]:
    if not genesis.nodes:
        return []
    count, operators, with_swarm, leaving = _describe_nodes(genesis).values()
    swarms = (
        f"{with_swarm} keep their swarm, " if with_swarm else "their swarms follow from the seed, "
    )
    return [
        ("nodes", f"{count} of {operators} operators, active from the start"),
        ("", f"{swarms}{leaving} are leaving"),
    ]


def _format_validators(genesis: "Genesis") -> list[tuple[str, str]]:
    from registry.addresses import encode_node

    rows = []
    for seat in genesis.attestors:
        behind = f", behind it {encode_node(seat.node)}" if seat.node else ""
        if seat.consensus_key:
            rows.append(("validator", seat.consensus_key.hex() + behind))
    return rows


def _format_engine(genesis: "Genesis") -> str:
    from ledger.messages.genesis import ENGINES

    engine = ENGINES[genesis.engine]
    return f"{engine}, producer {genesis.producer.hex()}" if genesis.producer else engine


def format_summary(raw: bytes, file: Path) -> str:
    from ledger.crypto import sha256
    from ledger.genesis import compute_supply
    from ledger.messages.genesis import GENESIS

    genesis: Genesis = GENESIS.decode(raw)
    preset_name, differing = _nearest_preset(genesis)
    but = f" but for {', '.join(differing)}" if differing else ""
    weights = ", ".join(str(seat.weight) for seat in genesis.attestors)
    single = "; SINGLE SIGNER: one of them alone makes a list final"
    return align(
        [
            ("genesis", str(file)),
            ("hash", sha256(raw).hex()),
            ("network", genesis.name.decode()),
            ("start", format_time(genesis.start_ms)),
            ("engine", _format_engine(genesis)),
            (
                "attestors",
                f"{len(genesis.attestors)} of weight {weights}"
                + (single if _is_single_signer(genesis) else ""),
            ),
            *_format_validators(genesis),
            ("policy", _policy_name(genesis)),
            *(("recovery key", key.hex()) for key in genesis.recovery),
            *([("predecessor", genesis.predecessor.hex())] if genesis.predecessor else []),
            ("accounts", str(len(genesis.accounts))),
            *_format_nodes(genesis),
            ("supply", f"{format_amount(compute_supply(genesis))}, reward pool included"),
            ("pool", format_amount(genesis.pool)),
            ("parameters", f"those of the preset {preset_name}{but}"),
        ]
    )


def format_parameters(raw: bytes) -> str:
    from ledger.messages.genesis import GENESIS
    from ledger.params import PARAMETERS

    genesis: Genesis = GENESIS.decode(raw)
    rows = [
        [row.name, str(value), row.unit, format_in_unit(value, row.unit), row.meaning]
        for row, value in zip(PARAMETERS, genesis.params, strict=True)
    ]
    return format_table(Table(("parameter", "value", "unit", "that is", "meaning"), rows))

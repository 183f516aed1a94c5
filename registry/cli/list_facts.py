"""What is said of a verified list and of its nodes, as text and as JSON."""

from typing import TYPE_CHECKING, Any

from registry.amounts import format_time
from registry.cli.output import align

if TYPE_CHECKING:
    from ledger.messages.contact import Version
    from ledger.messages.entries import Entry
    from registry.client.trusted import TrustedLists


def describe(trusted: "TrustedLists") -> dict[str, Any]:
    """Return what is known of the newest header, as JSON has it."""
    header, signers = trusted.header, trusted.signers
    return {
        "genesis_hash": trusted.genesis_hash.hex(),
        "epoch": header.epoch,
        "height": header.height,
        "header_hash": header.hash.hex(),
        "list_hash": header.list_hash.hex(),
        "node_count": header.node_count,
        "swarm_count": header.swarm_count,
        "valid_after_ms": header.valid_after_ms,
        "fresh_until_ms": header.fresh_until_ms,
        "valid_until_ms": header.valid_until_ms,
        "status": str(trusted.status),
        "signers": signers._asdict(),
        "single_signer": trusted.is_single_signer,
        "fingerprint": trusted.fingerprint,
    }


def format_facts(trusted: "TrustedLists", source: str = "") -> str:
    """Return it for people."""
    header, words = trusted.header, trusted.fingerprint
    fresh, valid = format_time(header.fresh_until_ms), format_time(header.valid_until_ms)
    facts = [
        ("epoch", str(header.epoch)),
        ("nodes", f"{header.node_count} in {header.swarm_count} swarms"),
        ("signed by", format_signers(trusted)),
        ("status", f"{trusted.status}: fresh until {fresh}, valid until {valid}"),
        ("fingerprint", " ".join(words[:6])),
        ("", " ".join(words[6:])),
    ]
    return align([*facts, ("source", source)] if source else facts)


def format_signers(trusted: "TrustedLists") -> str:
    """Return who signed the newest header."""
    signers = trusted.signers
    share = 100 * signers.weight // signers.total
    signed = f"{signers.signed} of {signers.seats} attestors, {share} % of the weight"
    return signed + (" (single signer)" if trusted.is_single_signer else "")


def describe_node(entry: "Entry") -> dict[str, Any]:
    """Return a node of the list, as JSON has it."""
    from ipaddress import ip_address

    from registry.addresses import encode_node

    contact = entry.contact
    return {
        "node": encode_node(entry.key),
        "swarm": str(entry.swarm_id),
        "ipv4": str(ip_address(contact.ipv4)) if contact.ipv4 else None,
        "ipv6": str(ip_address(contact.ipv6)) if contact.ipv6 else None,
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": format_version(contact.storage_version),
        "router_version": format_version(contact.router_version),
    }


def format_version(version: "Version") -> str:
    """Return a version as people write it."""
    return f"{version.major}.{version.minor}.{version.patch}"

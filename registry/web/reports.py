"""Offences that were proven and punished, with the evidence as a file."""

from typing import Final

from ledger.errors import Refusal
from registry.api.answers import found
from registry.evidence import check_evidence, explain
from registry.web.visit import Download, Shown, Visit

PAGE: Final = 25
MAX_INDEX: Final = 2**32 - 1


async def show_reports(visit: Visit) -> Shown:
    """The public record, the newest first."""
    page, following = await visit.ask_page("reports", visit.text("cursor"), limit=PAGE)
    return {"reports": page["reports"], "next": following, "is_first": not visit.text("cursor")}


async def show_report(visit: Visit) -> Shown:
    """One offence: what was done, by whom, what it cost, and the evidence."""
    height, index, report = await _ask_report(visit)
    evidence = bytes.fromhex(report["evidence"])
    return {
        "title": f"Report {height}/{index}",
        "report": report,
        "size": len(evidence),
        "told": _explain(evidence, visit),
    }


def _explain(evidence: bytes, visit: Visit) -> str:
    """Say what was proven; empty for what only an engine reports, which signs nothing of ours."""
    try:
        return explain(check_evidence(evidence, bytes.fromhex(visit.network.genesis_hash)))
    except Refusal:
        return ""


async def download_evidence(visit: Visit) -> Download:
    """The file that `waypost report check` takes."""
    height, index, report = await _ask_report(visit)
    return Download(f"evidence-{height}-{index}.bin", bytes.fromhex(report["evidence"]))


async def _ask_report(visit: Visit) -> tuple[int, int, dict[str, str]]:
    height, index = visit.number("height", 0), visit.number("index", 0, 0, MAX_INDEX)
    report = await visit.ask("report", height=height, index=index)
    return height, index, found(report, f"report {height}/{index} here")

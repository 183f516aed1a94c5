"""`waypost devnet node`: what a node of one's own needs beside it on a development network."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from ledger.errors import WaypostError
from registry.addresses import encode_node
from registry.client.services import ServiceRefused, Services
from registry.devnet.crew import make_agent_settings, make_server_arguments
from registry.home import GENESIS
from registry.keystore import derive, load_seed
from registry.lifeline import until_stopped
from registry.supervisor import Child

OWN: Final = "own"
"""Folder of the homes of such agents."""


class NotRegistered(WaypostError):
    """The network has no node with this key, or none with an IPv4 address."""


def run_own(folder: Path, key_file: Path, url: str) -> int:
    """Run an agent for the node of a key file, and what stands in for its servers, until stopped.

    The network lies in `folder`, and the node is registered there. Returns the exit code. Raises
    `NotRegistered` and `Unavailable`, and what is raised for bad key files.
    """
    return asyncio.run(_run(folder, key_file.absolute(), url))


async def _run(folder: Path, key_file: Path, url: str) -> int:
    address = encode_node(derive(load_seed(key_file), "node").public)
    contact = await _get_contact(url, address)
    home = folder / OWN / address
    told = json.dumps(make_agent_settings(home, key_file, folder / GENESIS, [url]))
    ports = (contact["storage_port"], contact["router_port"])
    parts = (
        ("registry.devnet.node", make_server_arguments(contact["ipv4"], *ports)),
        ("registry.agent", ["--settings", told]),
    )
    stop = until_stopped()
    children: list[Child] = []
    try:
        for module, arguments in parts:
            children += [await Child.start(module, module, arguments)]
        print(f"{address} at {contact['ipv4']}: its agent runs until Ctrl-C", flush=True)
        ends = [asyncio.create_task(child.process.wait()) for child in children]
        waiting: list[asyncio.Future[Any]] = [stop, *ends]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return next((end.result() or 1 for end in ends if end.done()), 0)
    finally:
        for child in reversed(children):
            await child.stop()


async def _get_contact(url: str, address: str) -> dict[str, Any]:
    services = Services([url])
    try:
        contact: dict[str, Any] = (await services.get(f"/v1/nodes/{address}"))["contact"]
    except ServiceRefused as refused:
        raise NotRegistered(f"register {address} first: {refused.detail}") from None
    finally:
        await services.close()
    if contact["ipv4"] is None:
        raise NotRegistered(f"{address} has no IPv4 address, which this command needs")
    return contact

"""A face as a program of its own: `python -m tests.registry.oxenmq.program URL ADDRESS...`.

It prints where it listens, and ends with its standard input.
"""

import asyncio
import json
import sys

from registry.client.services import Services
from registry.logs import set_up_logs
from registry.oxenmq import Face
from tests.registry.oxenmq.face import NODE


async def main(url: str, *addresses: str) -> None:
    """Run until nobody holds the other end of standard input."""
    services = Services([url])
    face = Face(addresses, services, NODE, lambda: None)
    running = asyncio.ensure_future(face.run())
    await face.listening.wait()
    print(json.dumps(face.addresses), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()
    await asyncio.wait((running,))
    await services.close()


if __name__ == "__main__":
    set_up_logs("face")
    asyncio.run(main(*sys.argv[1:]))

"""The peer of the service's lists: the same bytes by FastAPI's own means, on the same server.

    python -m bench.framework FD FOLDER

The bytes lie in memory and their names are made beforehand, as a careful program would have it.
"""

import hashlib
import socket
import sys
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import uvicorn
import uvloop
from fastapi import FastAPI, Header, Response

Known: TypeAlias = Annotated[str | None, Header()]

FOREVER: Final = "public, max-age=31536000, immutable"


def make_app(folder: Path) -> FastAPI:
    """Return an application that serves the lists of a publication directory."""
    app = FastAPI()
    bodies = {int(path.parent.name): path.read_bytes() for path in folder.glob("lists/*/full")}
    etags = {epoch: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for epoch, body in bodies.items()}

    @app.get("/v1/lists/{epoch}/full")
    async def get_full(epoch: int, if_none_match: Known = None) -> Response:
        if epoch not in bodies:
            return Response(status_code=404)
        headers = {
            "ETag": etags[epoch],
            "Cache-Control": FOREVER,
            "Access-Control-Allow-Origin": "*",
        }
        if if_none_match is not None and etags[epoch] in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(bodies[epoch], headers=headers, media_type="application/vnd.waypost.full")

    return app


def main(descriptor: int, folder: Path) -> None:
    """Serve on a listening socket until stopped."""
    config = uvicorn.Config(
        make_app(folder), http="httptools", ws="none", lifespan="off", log_config=None,
        access_log=False,
    )  # fmt: skip
    uvloop.run(uvicorn.Server(config).serve(sockets=[socket.socket(fileno=descriptor)]))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

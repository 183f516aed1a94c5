"""What storage servers and routers of the Session network ask the program beside them, over OxenMQ.

    face = Face(addresses, services, node_key, lists, callbacks)
    await face.run()

Read in this order:

    addresses       where the face listens
    wire            messages: what is asked, what is answered, what is an error
    rows            rows of nodes, held against a verified list
    snapshot        all rows of one block, and what of them somebody asked for
    upstream        what services tell, asked once for everybody
    blocks          who is told of new blocks, and where those come from
    commands        the table of commands
    allowance       what one host may cost in a second
    zmtp, curve     the protocol below, in the clear and encrypted; no socket
    connections     those to one address, and what they may cost
    listener        one address with its socket
    face            all of it
"""

from registry.oxenmq.commands import Callbacks, PeerReport, RouterPing, StoragePing
from registry.oxenmq.face import Face

__all__ = ["Callbacks", "Face", "PeerReport", "RouterPing", "StoragePing"]

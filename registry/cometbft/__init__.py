"""CometBFT beside the ledger process, under the engine `comet`. In reading order:

version       which CometBFT it is, and where it is found
genesis       its genesis file, made from ours
keys          its key files, and what others call a node by
config        its settings, made from ours
votes         what keeps a validator from voting twice
headers       its headers and commits, hashed and verified here
trust         where a node that begins with a snapshot begins
home          all of it together: what has to be there before it starts

Its home lies in ours and is written anew at each start; nobody has to edit a file in it. The key of
a validator stands in no file there: it comes through a pipe that CometBFT reads once.
"""

from registry.cometbft.version import VERSION

__all__ = ["VERSION"]

"""The engine `comet`: the same ledger, ordered by validators who run CometBFT beside it.

Read in this order:

    abci.proto      what of CometBFT's protocol is used here; `abci_pb2` is made from it
    server          the socket: framing, first in first out, batches
    translate       what CometBFT's words are to the ledger, and the other way round
    application     the calls, over a replica
    snapshots       snapshots on disk, and a store that is filled from one
    engine          all of it as an engine; transactions on their way to the other validators
"""

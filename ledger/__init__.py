"""The deterministic state machine: a pure function of a genesis file and blocks.

Read in this order; each layer imports only what stands above it:

    types, errors                    plain names, and everything that can go wrong
    params, codec, crypto, steps     the numbers of a network, bytes, signatures, pausable work
    store, merkle, messages/         where records lie, what proves them, what gets signed
    rules/                           functions of plain values
    state                            the key table and the overlay that a block writes to
    genesis, invariants, lists       the first state, what must always hold, what clients download
    transactions/                    what people can do
    transition                       one block, one epoch's end
    history, views                   what is kept beside the state; a committed height, for reading
    chain, replay                    the face that engines drive; blocks that others made

No module here has a clock, a network, a thread, randomness or an environment, and only the Store
does I/O (`leveldb` is imported by the process that owns the database, by nothing in here).
"""

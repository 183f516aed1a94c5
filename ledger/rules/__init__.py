"""Rules of the ledger as pure functions of plain values.

Nothing here knows the store, transactions or blocks: a rule takes numbers, bytes and mappings
and returns the same. Each file can be read alone. A good order:

    routable        which addresses others can reach
    seeds           what each epoch draws its randomness from
    quorums         who tests whom
    credit          what a node may be down before it loses its place
    removals        how many nodes verdicts may take off duty, and whose turn it is
    stakes          how much has to be staked, and how much may be
    queues          who becomes active, and who leaves, at an epoch's end
    rewards         what an epoch pays, and to whom
    penalties       how much an offence costs, who pays it, what its reporter gets
    attestors       how far a set of attestors may change at once
    mt19937_64      the random numbers that swarms are made with
    swarms          which node is in which swarm, and which swarm serves an account
"""

"""Rules of the ledger as pure functions of plain values.

Nothing here knows the store, transactions or blocks: a rule takes numbers, bytes and mappings
and returns the same. Each file can be read alone. A good order:

    routable        which addresses others can reach
    seeds           what each epoch draws its randomness from
    quorums         who tests whom
    credit          what verdicts do to a node's uptime credit
    stakes          how much has to be staked, and how much may be
    queues          who becomes active, and who leaves, at an epoch's end
    rewards         what an epoch pays, and to whom
    mt19937_64      the random numbers that swarms are made with
    swarms          which node is in which swarm, and which swarm serves an account
"""

"""How fast it is, against limits and against peers that are measured in the same run.

Read in this order:

    figures                      a figure with its repetitions and limit; the report
    sodium                       the peer of execution: libsodium alone, in two processes
    networks, traffic            networks with many accounts or nodes; transactions for them
    execution, swarms, lists     one section each, in this process
    replaying, growth, plot      how cost grows with accounts and nodes, and a picture of it
    serving, framework           lists over HTTP, beside nginx and a peer of its own
    startup                      how long starting takes
    ends                         from an epoch's last block to its list published, without load
    load, homes, epoch_end       a whole service under load, while its epochs end
    processes, flood, submission what a service takes in over HTTP, and what it does when full
    anvil                        what a user would run instead, beside it

`scripts/bench [section…]` runs it; docs/performance.md says how to read it.
"""

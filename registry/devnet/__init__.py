"""A whole network on one machine.

cast        who takes part: their keys and addresses, all from one seed
node        a process that stands in for a node's storage server and router
cheat       a process that signs a pass and a fail of one thing, and sends both
crew        the agents of the nodes, and what stands beside them: started, killed, stopped
story       what happens at first: funding, registrations, contributions, lists
failing     what happens with --fail: nodes die, and come back
cheating    what happens with --equivocate: nodes cheat, and a watcher reports them
own         what a node of one's own needs beside it
network     its genesis, and all its processes

Nothing is imported here: two small processes for each node come from this package.
"""

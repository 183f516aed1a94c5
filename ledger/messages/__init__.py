"""Every record that is signed, hashed or proven, with its tag.

tags           the tag of each kind of message
contact        where a node can be reached
duty           votes of testers
challenges     what testers ask nodes, and how those prove that they answer
checkins       what agents tell services, off the ledger
lists          header, signed header, set of attestors
entries        entry, columns, swarm leaf
evidence       what proves an offence
transactions   the envelope and the body of each kind
state          the records of the state
tables         under which key each of them lies
proofs         one of them with its proof, as it travels
blocks         block header and block, as journal and followers know them
genesis        the genesis file
"""

"""What orders blocks, and who attests.

solo       one producer: a timer, its pool, its seal
follow     blocks from other nodes, every one executed and checked here
refill     brings an older copy of a producer's database up to date
attestor   signs each header that this replica made itself
"""

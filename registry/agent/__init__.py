"""The agent: runs beside a service node and does its duty. In reading order:

settings      what it is told
networks      which addresses it may probe at all
challenge     answering testers, and asking those who are tested
probes        everything that is looked at of a node; PROBES
ledger        what is proven of the ledger's state, whoever served it
assignment    whom to test in an epoch, at which contact
rounds        when each node is looked at in an epoch, and what that comes to
votes         one batch an epoch, decided once, sent until it is judged
judging       duty from epoch to epoch, restarts included
contact       the node's own contact data
checkins      telling services that it is there
status        what it tells its operator
agent         all of it on one event loop
"""

"""Warnings: what happens to nodes, told to their operators before it costs them. In reading order:

settings    what the program is told
facts       what services say, as plain values; everything of a stranger is bounded here
cases       what one condition looks at, and what is remembered from one round to the next
conditions, table
            every warning: when it is due, why, what is left, what to do; `WARNINGS`
news        what is new in a round, against what was told: the pure core ends here
memory      what was told and what waits to be sent, in one file
messages    a message as JSON and as text
channels    webhook, mail, standard output
outbox      a queue for each channel
proofs      records of nodes, proven from the genesis file on
watch       asks the services
metrics     the same facts for Prometheus
warner      the program: rounds, and what sends
"""

"""The service round the ledger, in reading order; each layer imports only what stands above it.

home, files, sockets, logs       where things lie, and small tools
settings, metrics                what a process is told, and what it tells
addresses, words, slip10         text forms of keys and seeds; keys from seeds
amounts, card                    amounts and times as people write them; a node's status in words
keystore, formats/               key files, list files
client/                          what a client program needs: verification, a thin fetcher
watermarks, signer, wallet       what was signed, what signs, what holders of keys make
evidence, orders, drafts         proofs of offences; orders that many sign; what is signed offline
founding, importing              genesis files; nodes that come from a published list
history_file                     a whole history as one file
ipc, handover, lifeline          how processes talk, and how they learn to stop
workers, pool, verdicts          processes that verify; transactions and votes that wait
census, roster                   counts and rows beside the chain
duties, status                   who tests whom and who takes part; all about one node
checkins                         whose agent is there
swarm_feed, assignments          who stores with whom, and since when; what one node has to do
node_history                     verdicts on one node and what it was paid, epoch by epoch
trust, comparison                paths over changes of the attestors; what sources serve, compared
reports, announcements, fates    what was punished, what is to change, what became of what was sent
queries                          read-only answers
view, manifest, publisher        what is pushed to the web process; list files
cometbft/                        CometBFT beside a validator: its home, its settings, its keys
replica                          one chain with all that happens in step with it
jobs, engines/                   the scheduler; what orders blocks, and who attests
warnings/                        what happens to nodes, told to their operators in time
oxenmq/                          what programs of the Session network ask beside a node
agent/                           runs beside a service node: answers, tests others, votes
api/                             HTTP
ledger_process, web_process      one event loop each
supervisor                       starts and stops the processes
devnet/, cli/                    a whole network on one machine; the command line
"""

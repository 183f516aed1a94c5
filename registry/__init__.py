"""The service round the ledger, in reading order:

settings, metrics              what a process is told, and what it tells
addresses, keystore            text forms of keys, and key files
formats/                       list files
client/                        what a client program needs: pure verification, a thin fetcher
signer                         what signs, and never contradicts itself
ipc                            how the processes talk
pool, workers                  transactions that wait; processes that verify
queries, view, publisher       read-only answers, what is pushed, list files
engines/                       what orders blocks: solo, follow; and the attestor
jobs                           the scheduler
api/                           HTTP
ledger_process, web_process    one event loop each
supervisor                     starts and stops the processes
cli/                           the command line
"""

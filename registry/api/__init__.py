"""HTTP: what the web process answers. In reading order:

ports            what it needs from the ledger process
problems         every error, as one shape with a stable code
models, rule_models, duty_models
                 the shapes of answers; they are the reference of the API
answers          JSON or MessagePack, cursors, and what the descriptions share
node_table       the nodes as Session programs see them, with their JSON
live             the newest view, and what is derived from it
transactions, nodes, accounts, network, reports, rules, verdicts, events, health
                 the routes, by area
rpc_methods, json_rpc
                 the routes' counterpart for existing Session clients
library, ranges, slices
                 answers that lie ready or are files, parts of them, swarms with their proofs
bare, bare_paths signed lists: bytes ready in memory, past the framework; how OpenAPI shows them
limits           what each client address gets
edge             the outermost layer: bounds, counts, and the last net for exceptions
wire             bounds below HTTP: heads, silent and slow connections; the short way of `bare`
app              all of it put together
"""

"""What the web process serves besides the API: the explorer, and the module that checks lists.

In reading order:

    pages       every page: its path, its title, what it shows; and the one way all are answered
    visit       what a page is asked for, and how it asks
    nodes, table, history        nodes: the table, those that take stake, one node
    network, swarms              the network, its epochs and attestors; swarms on their ring
    accounts, blocks, reports    stakes and rewards; blocks and transactions; offences
    search      from what somebody types to the page that shows it
    reference   the page of the API
    show        how keys, amounts, times and pictures look
    assets      static files, held in memory under names that tell their bytes
    templates/  one for each page, over `base.html`
    static/     style and programs of the pages, and vendor/ of others
    static/waypost.js            checks lists in a page or in Node, whoever sent them

docs/operating/explorer.md is for who runs it, docs/using/javascript.md shows how to use the module.
"""

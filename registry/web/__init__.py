"""What the web process serves besides the API.

    static/waypost.js   checks lists in a page or in Node, whoever sent them

docs/using/javascript.md shows how to use it.
"""

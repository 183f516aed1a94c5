"""A whole network on one machine.

network    its keys, its genesis, its processes
story      what happens on it: funding, registrations, contributions, and what one sees
"""

from registry.devnet.network import Devnet

__all__ = ["Devnet"]

"""`python -m registry.agent` runs an agent that another program started."""

from registry.agent.agent import main

main()

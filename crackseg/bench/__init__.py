"""How fast this machine analyzes: variants side by side, in turns, against the machine's peak."""

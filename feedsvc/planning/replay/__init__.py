"""Replay: recorded, recent or generated posts and reads, simulated against other thresholds.

The simulation is pure. Only `follow_graph` and `observed` read from the stores.
Nothing here writes.
"""

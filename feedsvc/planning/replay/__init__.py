"""Simulate posts and reads under other thresholds: a replay.

The events are recorded, recent or generated. The simulation is pure. Only `follow_graph` and
`observed` read from the stores. Nothing here writes.
"""

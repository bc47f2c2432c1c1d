"""Push or pull, now: the policy and its versions, pins, guardrails, load shedding, delivery lag.

An upload decides with `policy` and `next_route` alone. The room reads and writes SQL, never Redis.
"""

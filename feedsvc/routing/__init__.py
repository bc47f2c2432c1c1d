"""Decide the route of each upload: the policy and its versions, pins, and load shedding.

Also stores the guardrails and measures delivery lag. An upload calls only `policy` and
`next_route`. This package reads and writes SQL, never Redis.
"""

"""Measure the unit costs of this system, with the service's own functions.

A calibration works only on `scratch` stores. They hold accounts made for it: the authors and
followers of `fixture_accounts`, and the viewers of `fixture_viewers`.
"""

"""Accounts and the edges between them: follows, mutes and blocks, follower batches, bulk loads.

A change of an edge runs in one transaction of the outbox, with both accounts locked.
"""

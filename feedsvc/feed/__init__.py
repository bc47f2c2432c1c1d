"""Read a feed: a viewer's home feed, and the posts of one account.

May touch cache, graph and the stores. A home feed takes the ids at and below its horizon from SQL,
and the ids above it from cached views. A profile takes all its ids from SQL.
"""

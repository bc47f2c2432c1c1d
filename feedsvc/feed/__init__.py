"""Read a feed: a viewer's home feed, and the posts of one account.

May touch cache, graph and the stores; asks SQL only where the cached views do not reach.
"""

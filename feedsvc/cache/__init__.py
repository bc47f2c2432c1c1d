"""Each view of SQL in Redis: how a reader finds it, how SQL fills it, and how a change drops it.

May touch the stores, and nothing above them.
"""

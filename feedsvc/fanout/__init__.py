"""The write path: delivers a pushed post to its followers' home feeds, in batches, exactly once.

Reads followers from `graph/`, pushes through `store/redis/delivery`, and writes progress to SQL. A
fan-out makes no post visible: the celebrity list has done that before.
"""

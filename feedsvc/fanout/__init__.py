"""The write path: delivers a pushed post to its followers' home feeds, in batches, exactly once.

Reads followers from `graph/`, pushes through `store/redis/delivery`, and writes progress to SQL.
The post is visible before its fan-out begins, because the upload put it on the celebrity list. A
fan-out only makes later reads cheaper.
"""

"""Survey: accounts, posts, reads and feeds of the real system, as the cost model needs them.

A worker takes one every ten minutes from SQL and Redis, and stores it as one row. No request takes
one.
"""

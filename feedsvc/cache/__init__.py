"""Read each view in Redis, and fill it from SQL.

`outbox.py` drops relations and home lists after a change. This folder drops the other views.
May touch the stores, and nothing above them.
"""

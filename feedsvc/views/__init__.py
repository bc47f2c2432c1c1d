"""The leased views: what each holds, and how it is filled from SQL. `feedsvc.changes` deletes them."""

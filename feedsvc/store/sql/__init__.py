"""SQL, the source of truth: the connection, the tables, pages by key, and migrations.

The queries of a feature stand with the feature.
"""

"""Inspect stored feeds: audit them against the database, and explain one post in one feed.

Reads both stores. Repairs by deleting cached views, never by editing them. Knows neither HTTP nor
the command line.
"""

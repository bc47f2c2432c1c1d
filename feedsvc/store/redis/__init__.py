"""Redis: every key, every script, the views in their stored form, and the connection.

Imports nothing of feedsvc but settings, formats and errors.
"""

"""Redis: every key, every script, the views in their stored form, and the connection.

At run time it imports nothing of feedsvc but settings, formats and errors.
"""

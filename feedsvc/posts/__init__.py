"""Posts: publish, edit, delete and read single ones.

A change runs in one transaction of the outbox. Publishing decides the route and starts the fan-out.
"""

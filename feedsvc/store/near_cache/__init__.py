"""The near cache: copies of celebrity lists and post bodies in each process.

At every read, a copy of a list lacks no post, and a copy of a post is up to date.
Touches Redis only through a round trip that a caller gives it.
"""

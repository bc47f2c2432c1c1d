"""The near cache: copies of celebrity lists and post bodies in each process, exact at every read.

Touches Redis only through a round trip that a caller gives it.
"""

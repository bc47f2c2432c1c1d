"""`feedsvc up`: start the parts of the service as processes, restart dead ones, stop in order.

May use everything below it: the command line, and nothing else, stands above.
"""

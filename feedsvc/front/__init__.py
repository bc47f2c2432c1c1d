"""The web server: receive whole requests on one thread, and call Flask in a bounded pool.

A client that is slow, silent or gone holds a socket and a few kilobytes, never a thread. One thread
(an event loop) owns the sockets, the time limits and the parser. A request reaches the application
only when it has arrived whole. Decision 18 says why.
"""

"""The web server: uvicorn, with limits for its clients and a bridge to Flask.

A client that is slow, silent or gone holds a socket and a few kilobytes, never a thread. One thread
(an event loop) owns the sockets and the time limits. A request reaches Flask only when it has
arrived whole, in a bounded pool of threads. Decision 18 says why.
"""

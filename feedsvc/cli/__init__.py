"""The command line. A command opens the services, calls one feature, prints the answer.

Commands contain no rules of their own, so that they agree with the HTTP calls.
"""

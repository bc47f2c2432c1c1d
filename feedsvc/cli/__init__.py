"""The command line. A command opens the services, calls one feature, prints the answer.

Commands hold no rules of their own: each does the same as the HTTP call of its name.
"""

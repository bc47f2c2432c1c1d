"""`/console`: pages for operators, to show and change the threshold, and to inspect accounts.

Thin views, which call the features that the API calls. They contain no rules of their own.
"""

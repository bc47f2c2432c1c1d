"""`/console`: the pages for operators. They show and change the threshold, accounts and feeds.

Thin views over the same features as the API. Reads and changes nothing on their own.
"""

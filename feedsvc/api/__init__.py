"""The HTTP interface: `/v1`, its OpenAPI document, and the addresses that need no token.

A view calls one function of a feature and shapes its answer. It holds no rule of the domain, and
touches no store itself.
"""

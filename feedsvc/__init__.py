"""A hybrid fan-out-on-write / fan-out-on-read home feed service."""

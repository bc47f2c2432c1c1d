"""The parts that run without installing a server: the data folder, its signing key and a Valkey.

Knows the operating system only. `services` and `supervise` use it where no setting names a server.
"""

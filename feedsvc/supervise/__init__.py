"""`up`: the service as a handful of processes, each started afresh and brought back when it dies."""

"""The one table of what is up: supervisor and prober write, everyone else reads a snapshot.

What does not belong here: deciding anything from the table (`routing`), finding anything out (`supervisor`, `health`).
"""

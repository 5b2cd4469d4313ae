"""What the two rooms with raw sockets, `door` and `upstream`, have in common.

    outbox    bytes that leave together at the end of a turn of the event loop

What does not belong here: HTTP, connections' stories, deadlines.
"""

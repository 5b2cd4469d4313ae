"""What the two rooms with raw sockets, `door` and `upstream`, have in common.

    outbox       bytes that leave together at the end of a turn of the event loop
    readiness    which sockets can be read, asked for all of them at once
    turns        who is woken next, when many could be

What does not belong here: HTTP, connections' stories, deadlines.
"""

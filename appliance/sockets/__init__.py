"""What the rooms with raw sockets, `door` and `upstream` above all, have in common.

    outbox       bytes that leave together at the end of a turn of the event loop
    readiness    which sockets can be read, asked for all of them at once
    turns        who is woken next, when many could be
    dozing       a task that is there for a whole process, and sleeps where there is nothing to do
    private      a listening socket in the file system for its owner alone

What does not belong here: HTTP, connections' stories, deadlines.
"""

"""Files of rows that are kept over restarts: SQLite, one writer for each, off the hot path.

    database  opening one, and what is done when it is broken
    writer    takes rows at once and writes them a second later

Serving never waits for this room and never fails because of it: with a full disk, a file that cannot be written or a
broken one, rows wait in bounded memory, then the oldest are counted and dropped, and the operator is told.

What does not belong here: what the rows mean (`usage`, `events`).
"""

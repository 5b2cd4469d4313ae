"""Who used what: one row for each exchange, kept over restarts.

    store       the file: its tables, a batch written whole or not at all, what is kept and for how long
    recorder    the one writer: takes rows on the hot path, writes them off it
    wanted      what somebody wants of the sums, and the sums as programs read them
    report      sums of the file for people and programs

A row says which key asked which model when, how many tokens and bytes it took, how long and how it ended. It never
holds what was asked or answered.

Serving never waits for this room and never fails because of it: with a full disk, a file that cannot be written or a
broken one, rows wait in bounded memory, then the oldest are counted and dropped, and the operator is told.

What does not belong here: limits (they count in memory and are exact), and metrics.
"""

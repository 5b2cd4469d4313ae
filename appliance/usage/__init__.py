"""Who used what: one row for each exchange, kept over restarts.

    store       the file: its tables, a batch written whole or not at all, what is kept and for how long
    recorder    the one writer: takes rows on the hot path, writes them off it
    wanted      what somebody wants of the sums, and the sums as programs read them
    report      sums of the file for people and programs

A row says which key asked which model when, how many tokens and bytes it took, how long and how it ended. It never
holds what was asked or answered.

How it is written, and what happens when it cannot be, is the same as for every such file (`storage`).

What does not belong here: limits (they count in memory and are exact), and metrics.
"""

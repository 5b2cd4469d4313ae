"""What the gateway costs beside others: `make bench`, or `python -m bench --help`.

Every gateway in turn stands between the same two C programs: `mock.c`, a model server without a model, and `load.c`,
its clients. The gateway has CPU 0 for itself; both of those, and this program, share CPU 1. Absolute numbers belong to
the machine: the ratios between gateways of one run are what to watch; and while developing the CPU time per request,
which hardly changes with whatever else the machine does.

    machine     CPUs, ports, limits, what /proc knows about a process
    program     a process for as long as a block runs
    gateways    who is compared, and how each is configured
    bare        the least that a proxy in Trio can do, to tell our own cost from that of the language
    work        the kinds of work, and one turn of one gateway at one of them
    scrape, translated, guarded, policies, memory    work of other shapes
    report      medians, ratios, the table, the file

What does not belong here: anything that asserts a speed. Tests hold what is true on every machine.
"""

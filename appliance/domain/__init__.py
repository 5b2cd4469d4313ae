"""Frozen values that cross rooms, and the few protocols that join them.

    calls     what a client asked for, after parsing
    http      a request as a door hands it over, and the reply that the door sends
    engines   the table of model servers we know: probe, abilities, quirks
    targets   where a request can be sent, and the runtime that makes it ready
    status    what is known about replicas, backends and models right now
    secret    text that must never be printed

What does not belong here: anything that acts, waits, or reads the clock.
"""

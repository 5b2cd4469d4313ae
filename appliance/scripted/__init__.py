"""A model server without a model: it answers like a real one, in fixed words, and fails on demand.

It is a separate process that speaks HTTP and the OpenAI API, so whatever is tried against it (`appliance selftest`, the
test suite, the benchmark) goes through real sockets, real signals and real process trees.

    replies   what it says: pure functions from a request's body to JSON and events
    engine    how it says it: the listener, the connections, and the ways to fail

What does not belong here: anything that the product needs to serve a real model. No other room imports this one except
the command line.
"""

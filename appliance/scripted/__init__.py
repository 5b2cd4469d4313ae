"""A model server without a model: it answers like a real one, in fixed words, and fails on demand.

It is a separate process that speaks HTTP and the OpenAI API, so whatever is tried against it (`appliance selftest`, the
test suite, the benchmark) goes through real sockets, real signals and real process trees.

    script    every way to fail, as a value; `appliance _engine --help` lists them
    replies   what it says: pure functions from a request's body to JSON and events
    responses the same as events of the Responses API
    tasks     what it says to whatever is no conversation: ranks, scores, tokens, sound
    realtime  sessions over a websocket
    lines     what it writes to its log
    counters  its /metrics
    requests  what it was asked
    engine    how it answers: the listener, the connections, and the ways to answer badly
    process   how it loads, what it starts beside itself, and how it ends
    claims    memory of GPUs that are not there

What does not belong here: anything that the product needs to serve a real model. No other room imports this one except
the command line.
"""

"""The box in the rack that serves an organisation's own language models.

Words, used the same way in code, config, metrics and documents:

    runtime    a model server process that we launch and own
    replica    one process tree of a runtime: a state, an address, a log
    backend    a model server that somebody else runs, reached by URL
    target     one thing a request can be sent to: a replica, or a backend and one of its models
    model      the public name a client asks for
    key        a client credential
    call       one client request after parsing, before routing
    exchange   one call from its first byte to its last, with everything accounted

Rooms import leftwards only; `tests/test_architecture.py` is the plan:

    values      errors, domain, config, recipes
    bytes       http1, sse, wire                            no clock, no task, no socket
    decisions   fleet, access, routing, limits, guardrails, queueing, breakers      time is an argument
    outside     upstream, supervisor, health, observe, authority, usage, events       one room per outsider
    path        gateway                                     a request's story
    surfaces    door, api, ops, pages, console                      thin: unpack, call, pack
    assembly    parts, console_parts, operating, telling, scraping, policy, encryption, roster, private_door, reload,
                serve, cli, __main__          `parts` and `serve` know every class
"""

__version__ = "0.1.0"

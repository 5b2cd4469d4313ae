"""One running appliance replaced by another, with models and clients noticing nothing: `appliance upgrade NEW`.

    old                                          new
    runs `NEW selftest`
    starts `NEW serve --takeover`   ───▶         reads the configuration
                                    ◀─── Hello   what it speaks and who it is
    starts and stops no model from here on
    Offer: sockets, the lock, what runs ───▶     looks at each model's process and holds it; changes nothing
                                    ◀─── Ready
    accepts no connection from here on
    Commit: limits, suspects        ───▶         supervises, accepts
                                    ◀─── Serving
    from here on there is no way back
    tells the service manager, lets go of the models
    Yours                           ───▶         tells the service manager how it does
    Change, Client, Busy: what its last answers use, connections that have become idle ───▶
    ends when its last answer has   Bye ───▶

Before `Serving` was heard the old process is the server: whatever goes wrong, it kills the new one and goes on as if
nothing had been. From then on the new one is, and nothing that becomes of the old one can stop it. While both run,
connections that arrive wait in the listening socket, which they share: none is refused.

    messages    what the two say to each other, and their bytes
    talk        who may say what when, and what becomes of the one when the other ends; pure
    channel     messages and open files over a Unix socket
    program     the other binary: tried out, started, ended
    giving      the old process's side
    taking      the new one's

What does not belong here: how models, limits or connections are handed over (`supervisor`, `limits`, `door`), and what
a stop is (`serve`).
"""

"""The command line: one file per command, each with `add_parser` and `run`.

    main        the parser, and how mistakes are told: one line, exit code 2, no traceback
    serve       run the appliance
    status      what models, processes and GPUs do; `top` shows it live, `board` is how it looks
    events      what has happened
    orders      orders for models; `reach` is how a running server is found
    logs        what their processes say
    misread     an answer of a server of another version, which a command cannot read
    check       find every problem of a configuration file
    demo        a real engine and a real small model on the CPU, without any configuration
    selftest    one real exchange through the whole product, in this very binary
    engine      the scripted model server that `selftest` and our tests use (not listed)

What does not belong here: anything that `serve` needs as well.
"""

"""What is wrong with this machine, before or after something goes wrong: `appliance doctor`.

    checks       facts to findings: each with a fixed id, what it means, and what to do       pure
    facts        what the machine says
    bundle       everything that helps somebody who helps from afar, as one file
    examination  the same for a running server, which must not wait for any of it
    redaction    what of that may leave the machine                                         pure

It changes nothing and needs no running server. What is wrong with a configuration is for `config/check` to say, and is
only repeated here; making a machine a server does not belong here (`installation`).
"""

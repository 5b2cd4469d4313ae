"""How much each key may use: requests a minute, tokens a minute, requests at once.

    buckets   a limit a minute, exact: it starts full and refills evenly
    ledger    one account per limited key: admits or refuses an exchange and settles it when it ends
    headers   what is left of a key's limits, as OpenAI's `x-ratelimit-*` headers

Pure: time is an argument, and everything is in memory. What does not belong here: who is asking (`access`), counting
tokens (`wire` reads the engine's own figures), and what must survive a restart.
"""

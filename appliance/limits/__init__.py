"""How much each key, and all keys together of a model, may use.

    buckets   a limit a minute, exact: it starts full and refills evenly
    quotas    a limit of tokens for a calendar day or month
    account   what one key or one model has: admits an exchange or refuses it, and settles it when it ends
    ledger    the accounts of all limited keys and models
    handing   the accounts of a process that is replaced while it still works on answers
    estimate  what a request may need, before an engine has counted
    headers   what is left a minute, as OpenAI's `x-ratelimit-*` headers

Pure: time is an argument, and everything is in memory. What does not belong here: who is asking (`access`), counting
tokens (`wire` reads the engine's own figures), and what must survive a restart (`usage` has the sums).
"""

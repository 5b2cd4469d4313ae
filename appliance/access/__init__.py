"""Who is asking, and what that caller may do.

    keys      a credential to a Caller, by hash
    byok      the provider that a request is for, and the caller's own key for it
    pace      how long a refusal of a key waits
    hosts     which Host headers name us, where no key protects
    policy    may this caller use this model, this scope, the local-only pages

Pure. What does not belong here: limits, and where a key comes from (`config.secrets`).
"""

"""Where connections arrive.

    listener    binds, accepts, keeps one connection's failure from the others, drains
    handover    gives a connection to Hypercorn inside a boundary, with bounded writes

One unauthenticated packet can end a bare Hypercorn process under Trio, and a reader that stops reading blocks its
shutdown for ever; both stop here. What does not belong here: what a request means (`api`).
"""

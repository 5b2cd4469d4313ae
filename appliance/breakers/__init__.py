"""What is learnt about targets from how exchanges end, so that a broken one is left alone and a bad request stopped.

    verdict   what the end of an exchange says about its target: good, bad or nothing
    breaker   one target: closed while it works, open when it fails, one probe at a time to find out
    panel     all targets: which of a model's targets to try, and the error when there is none
    suspects  requests that were under way when an engine crashed, until it is known which of them did it

Pure: time is an argument. Only what ended in exchanges is known here; what the supervisor or the prober sees is a fact
and wins over it. What does not belong here: health probes (`health`), waiting one's turn (`gateway`), and errors that
are the caller's (4xx and 429 say nothing about a target).
"""

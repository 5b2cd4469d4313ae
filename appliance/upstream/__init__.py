"""Connections to model servers: opening, sending, receiving, reusing, giving up in time, and closing.

It exists because closing the connection is how an engine learns to stop working, so no connection may be lost on any
path, cancelled ones included. Foreign exceptions end here: callers see the UpstreamError tree only. What does not
belong here: which target to ask, whether to try another, and what the bytes of a body mean.
"""

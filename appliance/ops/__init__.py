"""What operators and monitoring ask: is it alive, is it ready, what does it measure.

    probes    /healthz, /readyz, /metrics
    orders    /ops/v1: what the replicas say, and what they shall do
    live      /ops/v1/state and /ops/v1/live: all that can be seen, once or every second
    snapshot  that, as one object; `rates` makes of sums what happens now
    requests  /ops/v1/cancel: requests under way, ended
    keys      /ops/v1/keys: the keys that there are, and orders to make and end stored ones
    usage     /ops/v1/usage: who used what
    events    /ops/v1/events: what has happened
    gate      who may give orders, and what is kept of each: a line and an event
    following whatever goes on, as server-sent events; `sockets` carries the same over websockets

What does not belong here: the inference API, and finding anything out (the fleet's snapshot has it).
"""

"""What operators and monitoring ask: is it alive, is it ready, what does it measure.

    probes    /healthz, /readyz, /metrics
    orders    /ops/v1: what the replicas do, and what they shall do
    keys      /ops/v1/keys: the keys that there are, and orders to make and end stored ones
    usage     /ops/v1/usage: who used what
    gate      who may give orders, and the audit line of each
    following the output of model processes as it comes

What does not belong here: the inference API, and finding anything out (the fleet's snapshot has it).
"""

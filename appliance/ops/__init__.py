"""What operators and monitoring ask: is it alive, is it ready, what does it measure.

    probes    /healthz, /readyz, /metrics
    orders    /ops/v1: what the replicas do, and what they shall do
    following the output of model processes as it comes

What does not belong here: the inference API, and finding anything out (the fleet's snapshot has it).
"""

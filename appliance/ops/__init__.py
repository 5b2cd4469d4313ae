"""What operators and monitoring ask: is it alive, is it ready, what does it measure.

    probes    /healthz, /readyz, /metrics

What does not belong here: the inference API, and finding anything out (the fleet's snapshot has it).
"""

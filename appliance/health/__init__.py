"""Who can serve right now: probes of backends, and the report for load balancers and people.

It exists so that requests never find out the hard way. Replicas of our own runtimes are watched by their supervisor;
what does not belong here: sending bytes (a probe is handed in), starting or stopping anything, choosing a target.
"""

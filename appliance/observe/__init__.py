"""What happened, for people and for Prometheus.

    metrics    every metric, its labels and buckets; the only importer of prometheus_client
    log        one canonical line per exchange; secrets masked at the sink

What does not belong here: deciding anything from a metric, and prompts, keys or addresses as labels.
"""

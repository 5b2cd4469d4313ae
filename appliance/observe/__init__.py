"""What happened, for people and for Prometheus.

    metrics      every metric, its labels and buckets: one method for each thing that can happen; by subject in
                 exchange_metrics, replica_metrics, engine_metrics, gpu_metrics, standing and host
    families     where the numbers live: plain ones, because one event loop writes them
    process      the usual `process_*` metrics
    exposition   the page for Prometheus, made in slices so that a scrape holds nobody up
    log          what is told about an exchange and about a replica
    lines        how a line looks: JSON for machines, text for a terminal, secrets masked
    sink         the queue of lines and the task that writes them

What does not belong here: deciding anything from a metric, and prompts, keys or addresses as labels.
"""

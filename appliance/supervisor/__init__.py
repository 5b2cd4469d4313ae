"""The one who launches model server processes, watches them, and proves them gone.

    states       the table of a replica's life
    plan         how long to wait: backoff, deadlines, retry hints
    launch       what is started, with where each part of it comes from
    llama, vllm  how each engine is started
    command      a runtime of the config as a command line
    explain      the same for the person who wrote the settings
    sleep        how vLLM gives its memory back without ending
    scratch      a directory for what an engine leaves lying about
    environment  what a child may see of our environment, and where its program is
    spawn        the only place that starts a process
    proc         what the kernel says about processes
    process      one process held by a handle, a child or an adopted one
    tree         everything that a replica has started: found, signalled, proved empty
    cgroup       a cgroup for each replica, where this machine lets us have one
    records      what the next run has to know about the processes of this one
    listeners    whose TCP port it is
    tail         a child's log file, followed
    state_dir    who may use the state directory, and the name that tags its processes
    reap         what was left behind, removed
    replica      one owner task for each replica
    supervisor   all of them, behind `domain.targets.Runtime`

A model server holds gigabytes of GPU memory in processes that outlive their parents. Whoever starts the next one
before the last one is gone fails in ways nobody can read; that is why one room owns all of it.

What does not belong here: HTTP (a probe is handed in), routing, and what a request says.
"""

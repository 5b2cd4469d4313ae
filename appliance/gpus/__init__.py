"""The GPUs of this box: what each has, who holds it, and whether it can be trusted.

    reader     asks a process of its own, with a deadline: the driver's library can hang, and takes its process along
    worker     that process: answers a line with a line
    nvml       NVIDIA, through the driver's library
    amd        AMD, through sysfs
    file       a JSON file in place of a driver, for machines without GPUs and for tests
    processes  who a process is
    faults     which of the driver's reports mean that a GPU must not be used

The values are in `domain.gpus`. Other people's processes are named, never touched. What does not belong here: which
model goes where (`supervisor.plan`).
"""

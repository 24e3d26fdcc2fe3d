"""On the GPU machine, the service that stores blobs, schedules probes and runs workers."""

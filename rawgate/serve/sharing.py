"""What the workers of one gateway share: memory that is made before the first of them is forked."""

import os

from rawgate.config.model import Limits
from rawgate.policy.compile import Report
from rawgate.policy.compile_limits import shared_limiters, shared_limiters_need
from rawgate.serve.listening import StartError
from rawgate.serve.shared_memory import Mutexes, shared_memory
from rawgate.serve.worker_quotas import WorkerQuotas

SEED = 16
"""Random octets by which the limiter chooses its buckets."""


class Shared:
    """Counters that hold for all workers together. Raises StartError where the system gives no such memory.

    limiters  for the gates of all workers
    quotas    for their services
    """

    def __init__(self, limits: Limits, workers: int, report: Report) -> None:
        capacity = limits.limiter_keys
        octets, locks = shared_limiters_need(capacity)
        try:
            memory, mutexes = shared_memory(octets, "rawgate-limits"), Mutexes(locks, "rawgate-limit-locks")
            self.quotas = WorkerQuotas(workers, limits.connections)
        except OSError as error:
            raise StartError(f"several workers cannot share their limits here: {error.strerror}") from error
        self.limiters = shared_limiters(memory, mutexes, capacity, report, os.urandom(SEED), self.quotas.requests)

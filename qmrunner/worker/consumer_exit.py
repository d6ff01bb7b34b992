"""Exit statuses with which a consumer reports to its supervisor why it ended."""

from enum import IntEnum


class ExitStatus(IntEnum):
    ORPHANED = 75  # the supervisor is gone
    FENCED = 76  # this worker was declared lost while it lived: register again
    STORE_UNUSABLE = 77  # damaged or replaced: the daemon must stop and report it
    IDLE = 78  # nothing is left to do for a worker that ends when idle

"""Exit statuses by which a consumer tells its supervisor why it left."""

from enum import IntEnum


class ExitStatus(IntEnum):
    ORPHANED = 75  # the supervisor is gone
    FENCED = 76  # this worker was declared dead while it lived: register anew
    STORE_UNUSABLE = 77  # damaged or replaced: the daemon must stop and say so
    IDLE = 78  # nothing is left to do for a worker that ends then

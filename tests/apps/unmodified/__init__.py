"""qm-nmr-calc itself under qmrunner, while its processes are killed: `python -m tests.apps.unmodified --help`."""

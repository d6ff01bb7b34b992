import os
import random
import signal

import numpy.random
from huey import SqliteHuey

FOLDER = os.environ.get("KINDS_FOLDER") or os.getcwd()
os.environ["KINDS_FOLDER"] = FOLDER
os.environ["FROM_IMPORT"] = "yes"
os.chdir(os.path.join(FOLDER, "data"))
os.umask(0o027)
random.seed(1)
numpy.random.seed(1)
signal.signal(signal.SIGUSR1, lambda *_: None)
huey = SqliteHuey("kinds", filename=f"{FOLDER}/data/huey.db")

from kinds import tasks  # noqa: E402, F401

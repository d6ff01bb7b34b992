"""Applications that a fork for each task would break. `python -m kinds.shares` prints what the tasks of one did."""

import asyncio
import base64
import os
import sqlite3
import sys
import threading

from huey import Huey, SqliteHuey
from huey.storage import SqliteStorage

NAME = os.environ["SHARES"]
HANDLERS = "data/handlers"  # names of the processes that ran one


class Coded(SqliteStorage):
    """As an application that encrypts its messages."""

    def enqueue(self, data, priority=None):
        super().enqueue(b"coded" + base64.b64encode(data), priority)

    def dequeue(self):
        return decoded(super().dequeue())

    def add_to_schedule(self, data, at, *more):
        super().add_to_schedule(b"coded" + base64.b64encode(data), at, *more)

    def read_schedule(self, at):
        return [decoded(data) for data in super().read_schedule(at)]


def decoded(data):
    if data is None:
        return None
    assert bytes(data).startswith(b"coded"), data
    return base64.b64decode(bytes(data)[5:])


if NAME == "storage":
    huey = Huey("shares", storage_class=Coded, filename="data/huey.db")
else:
    huey = SqliteHuey("shares", filename="data/huey.db")
loop = connection = None


def open_all():
    global loop, connection
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="loop").start()
    connection = sqlite3.connect("data/shares.db", check_same_thread=False, timeout=20)
    connection.execute("create table if not exists pids (pid)")


def note_and_open():
    with open("/proc/self/comm") as name, open(HANDLERS, "a") as file:
        file.write(name.read())
    open_all()


if NAME == "import":
    open_all()
if NAME == "hooks":
    huey.on_startup()(open_all)
if NAME == "signals":
    huey.signal("scheduled", "enqueued")(lambda *_: note_and_open())


@huey.task(retries=1, retry_delay=1)
def works(number):
    if NAME in ("storage", "signals"):
        return number if connection is None else "the connection of another process"

    async def answer():
        return number

    with connection:
        connection.execute("insert into pids values (?)", (os.getpid(),))
    return asyncio.run_coroutine_threadsafe(answer(), loop).result(20)


if __name__ == "__main__":
    from kinds import shares

    sent = [shares.works(number) for number in range(4)]
    sent.append(shares.works.schedule((4,), delay=1))
    for delay in (2, 4, 8, 16) if NAME == "signals" else ():  # until the host had to wait for one
        shares.works.schedule((0,), delay=delay).get(blocking=True, timeout=60)
        with open(HANDLERS) as file:
            if "qm-" in file.read():
                break
    found = [result.get(blocking=True, timeout=60) for result in sent]
    print([*found, shares.works(5).get(blocking=True, timeout=60)])
    sys.stdout.flush()
    os._exit(0)

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


if NAME == "import":
    open_all()
if NAME == "hooks":
    huey.on_startup()(open_all)


@huey.task(retries=1, retry_delay=1)
def works(number):
    if NAME == "storage":
        return number

    async def answer():
        return number

    with connection:
        connection.execute("insert into pids values (?)", (os.getpid(),))
    return asyncio.run_coroutine_threadsafe(answer(), loop).result(20)


if __name__ == "__main__":
    from kinds import shares

    sent = [shares.works(number) for number in range(4)]
    later = shares.works.schedule((4,), delay=1)
    print([result.get(blocking=True, timeout=60) for result in [*sent, later]])
    sys.stdout.flush()
    os._exit(0)

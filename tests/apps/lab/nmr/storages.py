"""The application's Huey, in the storage that its environment names."""

import os

import huey
import huey.storage


class OwnStorage(huey.storage.BaseStorage):
    """As an application may write it: Huey's interface, and nothing that qmrunner knows."""

    def __init__(self, name="huey", filename=None):
        super().__init__(name)
        self._inner = huey.storage.SqliteStorage(name, filename=filename)
        for method in dir(huey.storage.BaseStorage):
            if not method.startswith("_"):
                setattr(self, method, getattr(self._inner, method))


def make():
    kind, _, place = os.environ.get("LAB_STORAGE", "").partition(" ")
    name = os.environ.get("LAB_NAME", "lab")
    if kind == "own":
        return huey.Huey(name, storage_class=OwnStorage, filename="./data/own.db")
    if kind == "file":
        return huey.FileHuey(name, path="./data/huey")
    if kind == "signed":
        serializer = huey.serializer.SignedSerializer(secret="s", compression=True)
        return huey.SqliteHuey(name, filename="./data/huey.db", serializer=serializer)
    if kind == "postgres":
        return huey.PostgresHuey(name, dsn=place)
    if kind:
        names = {
            "redis": "RedisHuey",
            "redis-expire": "RedisExpireHuey",
            "priority-redis": "PriorityRedisHuey",
            "priority-redis-expire": "PriorityRedisExpireHuey",
        }
        return getattr(huey, names[kind])(name, url=place)
    return huey.SqliteHuey(name, filename="./data/huey.db", fsync=True)

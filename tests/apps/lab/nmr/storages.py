"""The application's Huey, in the storage that its environment names."""

import os

import huey


def make():
    kind, _, place = os.environ.get("LAB_STORAGE", "").partition(" ")
    name = os.environ.get("LAB_NAME", "lab")
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

"""The application's Huey, in the storage that its environment names."""

import os

import huey


def make():
    kind, _, place = os.environ.get("LAB_STORAGE", "").partition(" ")
    if kind == "file":
        return huey.FileHuey("lab", path="./data/huey")
    if kind == "postgres":
        return huey.PostgresHuey("lab", dsn=place)
    if kind:
        names = {
            "redis": "RedisHuey",
            "redis-expire": "RedisExpireHuey",
            "priority-redis": "PriorityRedisHuey",
            "priority-redis-expire": "PriorityRedisExpireHuey",
        }
        return getattr(huey, names[kind])("lab", url=place)
    return huey.SqliteHuey("lab", filename="./data/huey.db", fsync=True)

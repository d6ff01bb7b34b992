"""The application's Huey, in the storage that its environment names."""

import os


def make():
    from huey import (
        FileHuey,
        PostgresHuey,
        PriorityRedisExpireHuey,
        PriorityRedisHuey,
        RedisExpireHuey,
        RedisHuey,
        SqliteHuey,
    )

    kind, _, place = os.environ.get("LAB_STORAGE", "").partition(" ")
    if kind == "file":
        return FileHuey("lab", path="./data/huey")
    if kind == "postgres":
        return PostgresHuey("lab", dsn=place)
    classes = {
        "redis": RedisHuey,
        "redis-expire": RedisExpireHuey,
        "priority-redis": PriorityRedisHuey,
        "priority-redis-expire": PriorityRedisExpireHuey,
    }
    if kind:
        return classes[kind]("lab", url=place)
    return SqliteHuey("lab", filename="./data/huey.db", fsync=True)

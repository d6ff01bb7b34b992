from huey import SqliteHuey
from huey.contrib import djhuey

QUEUES = {"mail": djhuey.HUEY, "books": SqliteHuey("books", filename="books.db")}

"""URLs with a password in them, right and mistyped."""

from __future__ import annotations

PASSWORD = "hunter2x"
MISTYPED = [
    line.replace("WORD", PASSWORD)
    for line in r"""
postgresql://user:WORD@127.0.0.1:1/db
postgresql:/user:WORD@host
postgresql:user:WORD@host/db
postgresql//user:WORD@host
postgresql/user:WORD@host
postgresql;//user:WORD@host
postgresql:\\user:WORD@host
postgres ql://user:WORD@host
postgresql:://user:WORD@host
postgres://user:WORD@host/db
postgresql://user WORD@host
postgresql://user;WORD@host
postgresql://user:WORD#host/db
postgresql://user:WORD
postgresql://user%3AWORD%40host/db
postgresql://user:p%40WORD@127.0.0.1:1/db
postgresql://user:WORD/x@127.0.0.1:1/db
postgresql://user:a@WORD@127.0.0.1:1/db
postgresql://user:WORD@[::1/db
postgresql://user:WORD@host:abc/db
postgresql://127.0.0.1:1/db?user=x&password=WORD
postgresql://127.0.0.1:1/db?pasword=WORD
host=h user=u password=WORD dbname=x
host=h user=u password='WORD zz' dbname=x
redis://:WORD@127.0.0.1:1/0
redis://WORD@127.0.0.1:1/0
redis:/:WORD@host
redis:WORD@host
rediss://user:WORD
redis://user:WORD@host:port
rdis://:WORD@host
:WORD@host
user:WORD@host:5432/db
WORD@host
mysql://user:WORD@host
http://user:WORD@host
s3://KEY:WORD@bucket/x
s3:/KEY:WORD@bucket/x
//user:WORD@host
""".splitlines()
    if line
]

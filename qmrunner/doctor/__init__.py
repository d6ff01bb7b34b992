"""Is this machine fit to be a worker? One function per question; each says ok, warn or fail, and what to do about it.

`examine` asks all of them, `startup` the quick ones that need no other process. Nothing is changed: what is written to
try a folder is removed again. Works without daemon, store or home.
"""

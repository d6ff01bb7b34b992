"""The standard library as it was before the application replaced parts of it (gevent's `monkey.patch_all`).

With gevent's `os.fork`, `os.waitpid` and `select.poll`, guardians saw no end of a task: gevent's own handler of SIGCHLD
collects children. Tasks keep what the application chose.
"""

from __future__ import annotations

import sys
import types

_OURS = "qmrunner."
_NAMES = ("os", "select", "signal", "socket", "time")  # what the host and guardians wait and fork with


def use() -> None:
    """Give the loaded modules of this package the original functions. Called once the application is loaded."""
    replaced = getattr(sys.modules.get("gevent.monkey"), "saved", {})
    copies = {id(sys.modules[name]): _unpatched(name, replaced[name]) for name in _NAMES if name in replaced}
    for module in [module for name, module in sys.modules.items() if name.startswith(_OURS)]:
        for name, value in list(vars(module).items()):
            if isinstance(value, types.ModuleType) and id(value) in copies:
                setattr(module, name, copies[id(value)])


def _unpatched(name: str, originals: dict[str, object]) -> types.ModuleType:
    copy = types.ModuleType(name)
    vars(copy).update({**vars(sys.modules[name]), **originals})
    return copy


def restart_gevent() -> None:
    """In a fork that runs the application's code, after its handlers of signals are set: gevent's event loop shares
    descriptors with that of the host until then, and its handler of SIGCHLD, which Python does not know, is gone."""
    find = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    hub = find() if find is not None else None
    if hub is not None:
        sys.modules["gevent"].reinit()
        hub.loop.reset_sigchld()

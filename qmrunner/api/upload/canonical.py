"""The structure of a search in canonical form; the process that reads submissions reads it, too."""

from __future__ import annotations

from collections import OrderedDict

from qmrunner.api.service import Service
from qmrunner.api.upload.request import folder_of
from qmrunner.api.upload.sandbox import Children
from qmrunner.confinement import interpreter, policy
from qmrunner.model.job_filter import is_inchikey

_MOST_KEPT = 1000


async def canonical(service: Service, children: Children, text: str) -> str:
    """See `submission.structure.canonical`. A page that is live asks for the same structure again and again, so the
    newest are kept. Raises as `Children.check` does."""
    if is_inchikey(text):
        return text
    kept: OrderedDict[str, str] = service.structures
    if text not in kept:
        settings = service.app.settings
        async with folder_of(settings.run_root) as folder:
            kept[text] = await children.canonical(
                folder, text, confinement=policy.order(interpreter.reach(), folder, settings)
            )
        if len(kept) > _MOST_KEPT:
            kept.popitem(last=False)
    kept.move_to_end(text)
    return kept[text]

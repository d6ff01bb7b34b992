"""What the HTML pages of `qmrunner.web` add to the API. The API itself knows nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request, Response

from qmrunner.errors import QmrunnerError


@dataclass(frozen=True, slots=True)
class Pages:
    """Routes of pages, the page of an error, and what runs as long as the server does."""

    routers: Sequence[APIRouter]
    refusal: Callable[[Request, QmrunnerError], Response]
    running: Callable[[FastAPI], AbstractAsyncContextManager[None]]

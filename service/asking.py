"""What many routes ask a request for: who sends it, its key, its page; each declared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request, Response

from service.database import Record
from service.keys import Caller, reader, watcher, writer
from service.paths import href
from service.schemas import NO_NUL
from service.state import Service, service_of

Here = Annotated[Service, Depends(service_of)]
Reader = Annotated[Caller, Depends(reader)]
Writer = Annotated[Caller, Depends(writer)]
Watcher = Annotated[Caller, Depends(watcher)]
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="The same key, the same answer, for a day.")
]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[
    str, Query(pattern="^[0-9a-f-]{0,36}$", description="`next` of the page before.")
]
ImageName = Annotated[str, Path(max_length=300, pattern=NO_NUL)]
WithRejected = Annotated[bool, Query(description="Show the cracks that an inspector rejected too.")]
AsMeasured = Annotated[bool, Query(description="Without verdicts, as the network left it.")]
LocaleName = Annotated[
    str,
    Query(
        pattern="^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,2}$",
        description="Language and form of numbers: en, de, de_CH.",
    ),
]
TileNumber = Annotated[int, Path(ge=0, le=10**6)]
CrackId = Annotated[int, Path(ge=1, le=10**9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Which rows of a list are asked for, and where the next ones are."""

    request: Request
    response: Response
    limit: int
    cursor: str

    @property
    def rows(self) -> int:
        """How many rows are read: one more than shown says that there is a next page."""
        return self.limit + 1

    def next(self, rows: Sequence[Record], column: str = "id") -> str | None:
        """Return the cursor of the next page, or None on the last, and say it in `Link`."""
        if len(rows) <= self.limit:
            return None
        cursor = str(getattr(rows[self.limit - 1], column))
        url = self.request.url.include_query_params(cursor=cursor)
        self.response.headers["Link"] = f'<{href(url.path)}?{url.query}>; rel="next"'
        return cursor


def _paging(usual: int) -> Callable[..., Paging]:
    def ask(
        request: Request, response: Response, limit: Limit = usual, cursor: Cursor = ""
    ) -> Paging:
        return Paging(request=request, response=response, limit=limit, cursor=cursor)

    return ask


Paged = Annotated[Paging, Depends(_paging(100))]
PagedShort = Annotated[Paging, Depends(_paging(50))]

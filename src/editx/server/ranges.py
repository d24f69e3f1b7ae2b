"""Files made in memory, of which a player may ask for a part: without that, browsers cannot jump within a sound."""

from __future__ import annotations

import re

from fastapi import Request, Response


def ranged(request: Request, data: bytes, media_type: str) -> Response:
    """All of `data`, or the one part of it that the request's `Range` names: 206, or 416 where there is none."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    # Of what is no range that could be meant, such as one of a thousand digits, HTTP says to send everything.
    asked = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", request.headers.get("range", ""))
    if asked is None or asked.groups() == ("", ""):
        return Response(data, media_type=media_type, headers=headers)
    first, last = asked.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
    else:
        start, stop = max(0, len(data) - int(last)), len(data)
    if start >= stop:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Response(data[start:stop], 206, headers, media_type)

"""Ask our own public address, as others would: does it answer, and what time is it there?"""

import email.utils
from dataclasses import dataclass

import httpx2

SECONDS = 3.0


@dataclass(frozen=True)
class OwnAnswer:
    """The status of the answer, and its `Date` (Unix seconds; None without one)."""

    status: int
    date: int | None


def ask_own_address(public_url: str) -> OwnAnswer | str:
    """GET `/healthz` of the public address; or why there was no answer.

    The operator chose the address, so none of the rules for strangers' addresses apply; nothing of
    the answer but its status and its date is looked at.
    """
    try:
        answer = httpx2.get(f"{public_url}/healthz", timeout=SECONDS, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return f"{type(error).__name__}: {error}"
    date = email.utils.parsedate_tz(answer.headers.get("Date", ""))
    return OwnAnswer(answer.status_code, None if date is None else int(email.utils.mktime_tz(date)))

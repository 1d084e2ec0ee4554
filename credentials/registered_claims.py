"""Reading registered JWT claims: times (RFC 7519), `cnf` (RFC 7800), `status`."""

from collections.abc import Mapping
from typing import Any

from credentials.errors import CredentialError, Expired, Malformed, NotYetValid, StatusUnavailable
from credentials.model import StatusReference
from credentials.suite import Jwk


def check_times(
    claims: Mapping[str, Any], now: int, skew: int, early: type[CredentialError] = NotYetValid
) -> tuple[int | None, int | None]:
    """Check `exp`, `nbf` and `iat` and give `iat` and `exp`, in Unix seconds.

    The skew forgives a clock that is ahead; what has expired stays expired.
    Raises `Expired`, `Malformed`, and `early` for times in the future.
    """
    expires_at, issued_at = seconds(claims, "exp"), seconds(claims, "iat")
    if expires_at is not None and expires_at <= now:
        raise Expired(f"expired {now - expires_at} s ago")
    if issued_at is not None and issued_at > now + skew:
        raise early(f"iat lies {issued_at - now} s in the future; check both clocks")
    if "nbf" in claims:
        not_before = seconds(claims, "nbf")
        if not_before is not None and not_before > now + skew:
            raise early(f"nbf lies {not_before - now} s in the future")
    return issued_at, expires_at


def seconds(claims: Mapping[str, Any], name: str) -> int | None:
    """Read a NumericDate (RFC 7519, section 2); fractions are cut off. Raises `Malformed`."""
    value = claims.get(name)
    if value is None or type(value) is int:
        return value
    if type(value) is float:
        # JSON knows neither infinities nor NaN, so this is a finite number.
        return int(value)
    raise Malformed(f"{name} is not a number of seconds")


def holder_jwk(confirmation: object) -> Jwk | None:
    """Read `cnf.jwk`, the holder's key. Raises `Malformed`."""
    if confirmation is None:
        return None
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    if not isinstance(jwk, dict):
        raise Malformed("cnf holds no jwk (RFC 7800, section 3.2)")
    return jwk


def status_reference(status: object) -> StatusReference | None:
    """Read a status list reference. Raises `StatusUnavailable` for any other mechanism."""
    if status is None:
        return None
    entry = status.get("status_list") if isinstance(status, dict) else None
    uri = entry.get("uri") if isinstance(entry, dict) else None
    index = entry.get("idx") if isinstance(entry, dict) else None
    if not isinstance(uri, str) or type(index) is not int or index < 0:
        raise StatusUnavailable("status is not a reference to a token status list")
    return StatusReference(uri, index)

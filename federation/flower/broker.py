"""The broker over HTTP, as a coordinator and a member call it (docs/federation.md).

By `private_key_jwt` (RFC 7523) and a token bound to a fresh key by DPoP (RFC 9449). A call that did
not get an answer is made again: the broker answers a repeated one as the first time.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)

from credentials.jws import Signer, sign_jws
from credentials.keys import SoftwareKey
from federation.errors import FederationError, Malformed
from federation.opening import Round
from federation.presence import RoundKey
from wallet_adapters.oauth import make_dpop_proof

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS: Final = 60
SECONDS: Final = 60.0
TRIES: Final = 4
AGAIN_SECONDS: Final = 0.5
LIST_TRIES: Final = 8
LARGEST_LIST: Final = 64 * 1024 * 1024
KEY_BYTES: Final = 32
LONGEST_PAUSE: Final = 10.0
BUSY: Final = frozenset({429, 502, 503, 504})
OK: Final = 200
NO_BROKER: Final = "is it the broker that answers?"
UNAUTHORIZED: Final = 401
Kind = TypeVar("Kind")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class BrokerRefused(FederationError):
    """The broker does not do it; `told` is its code, `status` that of HTTP (0: no answer)."""

    code = "broker_refused"

    def __init__(self, status: int, told: str, detail: str = "") -> None:
        """Say what it answered."""
        self.status, self.told, self.detail = status, told, detail
        super().__init__(f"the broker answered {status} {told}{': ' if detail else ''}{detail}")


class BrokerClient:
    """Calls a broker as one coordinator, or as one member (a partner); a context manager.

    `base` is the tenant's address, which its assertions are for; `now` gives Unix seconds;
    `carrier` replaces how requests travel.
    """

    def __init__(
        self,
        base: str,
        client_id: str,
        key: Signer,
        *,
        now: Callable[[], int],
        carrier: httpx.BaseTransport | None = None,
    ) -> None:
        self._base, self._id, self._key, self.now = base.rstrip("/"), client_id, key, now
        self._http = httpx.Client(timeout=SECONDS, transport=carrier, trust_env=False)
        self._proof_key = SoftwareKey.generate("ES256")
        self._nonce: str | None = None
        self._token, self._until = "", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def log_in(self) -> None:
        """Get a token, to see whether the broker knows this client. Raises `BrokerRefused`."""
        self._renew()

    def get(self, path: str) -> dict[str, Any]:
        """GET as JSON. Raises `BrokerRefused`."""
        return self._called("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST JSON, repeated where no answer came. Raises `BrokerRefused`."""
        return self._called("POST", path, json=dict(body))

    def download(self, address: str) -> str:
        """A public document as text, whole, without saying who asks. Raises `BrokerRefused`."""
        try:
            with self._http.stream("GET", address) as answer:
                if not answer.is_success:
                    raise BrokerRefused(answer.status_code, "not_downloaded", address)
                data = bytearray()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > LARGEST_LIST:
                        raise BrokerRefused(answer.status_code, "too_large", address)
        except httpx.HTTPError as error:
            raise BrokerRefused(0, "no_answer", str(error)) from None
        return data.decode("utf-8", "replace")

    def _called(self, method: str, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (of httpx)
        if self.now() >= self._until:
            self._renew()
        try:
            return self._sent(method, path, **body)
        except BrokerRefused as error:
            if error.status != UNAUTHORIZED:
                raise
        # The token ended before its time: one more try with a new one.
        self._renew()
        return self._sent(method, path, **body)

    def _renew(self) -> None:
        self._token, self._until = "", 0
        now = self.now()
        answer = self._sent("POST", "/oauth/token", form=self._form)
        token, seconds = said(answer, "access_token", str), said(answer, "expires_in", int)
        self._token, self._until = token, now + seconds // 2

    def _form(self) -> dict[str, str]:
        """What asks for a token, once: the broker takes no assertion a second time."""
        now = self.now()
        assertion = sign_jws(
            self._key,
            {"typ": "JWT"},
            {
                "iss": self._id,
                "sub": self._id,
                "aud": self._base,
                "jti": secrets.token_urlsafe(18),
                "iat": now,
                "exp": now + ASSERTION_SECONDS,
            },
        )
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }

    def _sent(
        self,
        method: str,
        path: str,
        form: Callable[[], dict[str, str]] | None = None,
        **body: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        for left in reversed(range(TRIES)):
            if form is not None:
                body["data"] = form()
            try:
                answer = self._proven(method, path, **body)
            except httpx.HTTPError as error:
                if not left:
                    raise BrokerRefused(0, "no_answer", str(error)) from None
                time.sleep(AGAIN_SECONDS)
                continue
            asked = answer.headers.get("DPoP-Nonce")
            if asked is not None and asked != self._nonce:
                self._nonce = asked
                if "use_dpop_nonce" in answer.text:
                    continue
            if answer.status_code in BUSY and left:
                time.sleep(_pause(answer))
                continue
            return _read(answer)
        raise BrokerRefused(UNAUTHORIZED, "use_dpop_nonce")

    def _proven(self, method: str, path: str, **body: Any) -> httpx.Response:  # noqa: ANN401
        proof = make_dpop_proof(
            self._proof_key,
            method=method,
            url=self._base + path,
            now=self.now(),
            nonce=self._nonce,
            access_token=self._token or None,
        )
        headers = {"DPoP": proof}
        if self._token:
            headers["Authorization"] = f"DPoP {self._token}"
        return self._http.request(method, self._base + path, headers=headers, **body)


def round_key(client: BrokerClient, campaign: str, opened: Round) -> RoundKey:
    """The key of a member's own leaves, by the member's client.

    `campaign` is the broker's id of it; that the key is of this round is checked. Raises what a
    call does, and `Malformed`.
    """
    path = f"/v1/federation/campaigns/{campaign}/rounds/{opened.stage}/{opened.number}/key"
    told = client.get(path)
    asked = (opened.campaign_hash, opened.stage, opened.number, opened.member)
    if tuple(told.get(name) for name in ("campaign", "stage", "number", "member")) != asked:
        raise Malformed("the broker's key is of another round or member")
    text = str(told.get("key"))
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Malformed("the broker's key of the round is no key")
    return RoundKey(key)


def download_lists(
    client: BrokerClient, opened_at: int, addresses: Sequence[str]
) -> dict[str, str]:
    """Whole status lists, from the second on in which the round opens. Raises `BrokerRefused`.

    One that is of before, since the broker's clock is behind this one, is asked for again a few
    times; whether it will do is looked at elsewhere (`opening.pin_lists`).
    """
    while client.now() < opened_at:
        time.sleep(AGAIN_SECONDS)
    found: dict[str, str] = {}
    for address in addresses:
        for _ in range(LIST_TRIES):
            found[address] = client.download(address)
            if _issued_at(found[address]) >= opened_at:
                break
            time.sleep(AGAIN_SECONDS)
    return found


def _issued_at(token: str) -> int:
    """What a token says of itself, unverified; 0 where it cannot be read."""
    try:
        part = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["iat"]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return 0
    return said if isinstance(said, int) else 0


def _pause(answer: httpx.Response) -> float:
    """How long to wait before the next try, in seconds: as the broker asks, within a bound."""
    asked = answer.headers.get("Retry-After", "")
    # Digits alone, and few: a date is as good as nothing said.
    told = float(asked) if _SECONDS.fullmatch(asked) else 0.0
    return min(max(told, AGAIN_SECONDS), LONGEST_PAUSE)


def said(told: object, name: str, kind: type[Kind]) -> Kind:
    """A member of what the broker told. Raises `BrokerRefused`: `malformed`.

    What stands between may answer in the broker's stead: a portal, a proxy.
    """
    value = told.get(name) if isinstance(told, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BrokerRefused(OK, "malformed", f"no {name} is told: {NO_BROKER}")
    return value


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        if answer.is_success and answer.content:
            raise BrokerRefused(answer.status_code, "malformed", NO_BROKER)
        told = {}
    if answer.is_success:
        return told
    named = str(told.get("code", told.get("error", "unknown")))
    raise BrokerRefused(answer.status_code, named, str(told.get("detail", "")))

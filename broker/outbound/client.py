"""The other side of the API: a client's calls, and the carrier of a wallet's messages."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from broker.domain.deletion import Asked, sign_receipt
from credentials.keys import SoftwareKey, sign_jws
from wallet_adapters.loopback import Answer, Message
from wallet_adapters.oauth import make_dpop_proof

ASSERTION_SECONDS = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TIMEOUT_SECONDS = 30.0


class ApiError(Exception):
    """The broker answered with a problem; `code` is its stable code."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", problem.get("error", "unknown")))
        super().__init__(
            f"{status} {self.code}: {problem.get('detail', problem.get('error_description', ''))}"
        )


class Client:
    """Calls a broker as one partner or officer, by `private_key_jwt` (RFC 7523).

    Its token is bound to a fresh key by DPoP (RFC 9449): whoever reads it cannot use it.
    """

    def __init__(self, base_url: str, client_id: str, private_jwk: Mapping[str, Any]) -> None:
        self._base = base_url
        self._id = client_id
        self._key = SoftwareKey.from_private_jwk(dict(private_jwk))
        self._http = httpx2.Client(base_url=base_url, timeout=TIMEOUT_SECONDS)
        self._proof_key = SoftwareKey.generate("ES256")
        self._nonce: str | None = None
        self._token = ""
        self._renew_at = 0.0

    def get(self, path: str, **params: str | int) -> httpx2.Response:
        """GET; raises `ApiError` for anything but success."""
        self._renew()
        return self._send("GET", path, params=params)

    def post(
        self, path: str, body: Mapping[str, Any], *, idempotent: bool = False
    ) -> dict[str, Any]:
        """POST JSON; with `idempotent` under a fresh Idempotency-Key. Raises `ApiError`."""
        self._renew()
        headers = {"Idempotency-Key": secrets.token_urlsafe(18)} if idempotent else {}
        answer: dict[str, Any] = self._send("POST", path, json=body, headers=headers).json()
        return answer

    def collect(self, path: str) -> httpx2.Response:
        """POST an empty JSON object for an answer that is none; raises `ApiError`."""
        self._renew()
        return self._send("POST", path, json={})

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT JSON under a fresh Idempotency-Key. Raises `ApiError`."""
        self._renew()
        headers = {"Idempotency-Key": secrets.token_urlsafe(18)}
        answer: dict[str, Any] = self._send("PUT", path, json=body, headers=headers).json()
        return answer

    def confirm_deletion(
        self, task: Mapping[str, Any], *, deleted_at: int, method: str = "deleted"
    ) -> dict[str, Any]:
        """Sign and send the receipt of a deletion task, as `GET /v1/deletion-tasks` gave it.

        Delete first: the receipt is this client's signed word. Raises `ApiError`.
        """
        asked = Asked(
            task_id=str(task["id"]),
            partner_id=self._id,
            consent_id=str(task["consent"]),
            attributes=tuple(task["attributes"]),
            audience=self._base,
            created_at=int(task["created_at"]),
        )
        receipt = sign_receipt(
            self._key, asked, deleted_at=deleted_at, method=method, now=int(time.time())
        )
        path = f"/v1/deletion-tasks/{asked.task_id}/receipt"
        return self.post(path, {"receipt": receipt}, idempotent=True)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._token = ""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        answer = self._send("POST", "/oauth/token", data=form).json()
        self._token = str(answer["access_token"])
        self._renew_at = time.monotonic() + int(answer["expires_in"]) / 2

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:  # noqa: ANN401 (of httpx2)
        """Send with a proof; once more where the broker wants its own nonce inside."""
        own = request.pop("headers", {})
        response = self._http.request(
            method, path, headers=own | self._proven(method, path), **request
        )
        asked = response.headers.get("DPoP-Nonce")
        if asked is not None and asked != self._nonce:
            self._nonce = asked
            if "use_dpop_nonce" in response.text:
                headers = own | self._proven(method, path)
                response = self._http.request(method, path, headers=headers, **request)
        return self._checked(response)

    def _proven(self, method: str, path: str) -> dict[str, str]:
        proof = make_dpop_proof(
            self._proof_key,
            method=method,
            url=self._base + path,
            now=int(time.time()),
            nonce=self._nonce,
            access_token=self._token or None,
        )
        return {"DPoP": proof} | ({"Authorization": f"DPoP {self._token}"} if self._token else {})

    def _assertion(self) -> str:
        now = int(time.time())
        return sign_jws(
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

    @staticmethod
    def _checked(response: httpx2.Response) -> httpx2.Response:
        if response.is_success:
            return response
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        raise ApiError(response.status_code, problem if isinstance(problem, dict) else {})


class Carrier:
    """Carries a wallet's messages over HTTP; it never follows a redirect."""

    def __init__(self) -> None:
        self._http = httpx2.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    def __call__(self, message: Message) -> Answer:
        """Send a message and wait for its answer."""
        response = self._http.request(
            message.method, message.url, headers=dict(message.headers), content=message.body
        )
        return Answer(response.status_code, response.content, dict(response.headers))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

"""A timestamping authority on this machine: OpenSSL's, with certificates of its own."""

import socket
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.faults.hostile import Behaviour, answering
from tests.programs import require

USUAL_USE = "critical,timeStamping"
CONFIGURATION = """
[tsa]
default_tsa = local
[local]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


class Authority:
    """A root and a timestamping certificate; its files are below `folder`."""

    def __init__(self, folder: Path, *, use: str = USUAL_USE) -> None:
        self._openssl = require("openssl", "issue timestamps")
        self._folder = folder
        folder.mkdir()
        (folder / "use").write_text(f"extendedKeyUsage={use}\n")
        (folder / "configuration").write_text(CONFIGURATION.format(folder=folder))
        (folder / "serial").write_text("01")
        for name in ("root", "tsa"):
            self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        self._run(
            *("req", "-x509", "-new", "-key", "root.key", "-subj", "/CN=Time Root"),
            *("-days", "30", "-out", "root.pem"),
        )
        self._run("req", "-new", "-key", "tsa.key", "-subj", "/CN=Local Time", "-out", "tsa.csr")
        self._run(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key"),
            *("-set_serial", "2", "-days", "30", "-extfile", "use", "-out", "tsa.pem"),
        )

    @property
    def root_file(self) -> Path:
        return self._folder / "root.pem"

    @property
    def root(self) -> bytes:
        certificate = x509.load_pem_x509_certificate(self.root_file.read_bytes())
        return certificate.public_bytes(Encoding.DER)

    def reply(self, query: bytes) -> bytes:
        """Answer a TimeStampReq; OpenSSL says itself what it refuses."""
        (self._folder / "query.tsq").write_bytes(query)
        self._run("ts", "-reply", "-queryfile", "query.tsq", "-out", "reply.tsr")
        return (self._folder / "reply.tsr").read_bytes()

    def content(self, token: bytes) -> bytes:
        """What a token says, a TSTInfo, without its signature."""
        (self._folder / "opened.tsr").write_bytes(token)
        self._run("ts", "-reply", "-in", "opened.tsr", "-token_out", "-out", "opened.cms")
        opened = ("-in", "opened.cms", "-inform", "DER", "-out", "info")
        self._run("cms", "-verify", "-noverify", "-binary", *opened)
        return (self._folder / "info").read_bytes()

    def signed(self, info: bytes) -> bytes:
        """A TimeStampResp over a TSTInfo, with this certificate whatever it is for."""
        (self._folder / "info").write_bytes(info)
        self._run(
            *("cms", "-sign", "-binary", "-nodetach", "-econtent_type", "id-smime-ct-TSTInfo"),
            *("-signer", "tsa.pem", "-inkey", "tsa.key", "-nosmimecap", "-md", "sha256"),
            *("-in", "info", "-outform", "DER", "-out", "forced.cms"),
        )
        # TimeStampResp ::= SEQUENCE { PKIStatusInfo { granted(0) }, TimeStampToken }
        return _sequence(bytes.fromhex("3003020100") + (self._folder / "forced.cms").read_bytes())

    def accepts(self, token: bytes, text: bytes) -> bool:
        """Whether OpenSSL verifies a token over a text by this root."""
        (self._folder / "kept.tsr").write_bytes(token)
        (self._folder / "text").write_bytes(text)
        verify = ("ts", "-verify", "-data", "text", "-in", "kept.tsr", "-CAfile", "root.pem")
        return self._run(*verify, check=False).returncode == 0

    def serve(self) -> Behaviour:
        """Answer requests over HTTP (RFC 3161, section 3.4)."""

        def answer(connection: socket.socket, request: bytes) -> None:
            head, _, body = request.partition(b"\r\n\r\n")
            if b"content-type: application/timestamp-query" not in head.lower():
                answering(status="415 Unsupported Media Type")(connection, request)
                return
            reply = self.reply(body)
            answering(reply, media_type="application/timestamp-reply")(connection, request)

        return answer

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        configuration = ("-config", "configuration") if arguments[:2] == ("ts", "-reply") else ()
        return subprocess.run(
            [self._openssl, *arguments, *configuration],
            cwd=self._folder,
            check=check,
            capture_output=True,
            timeout=60,
        )


def _sequence(content: bytes) -> bytes:
    length = len(content).to_bytes(2, "big")
    return b"\x30\x82" + length + content

"""Who stands where: the hidden attributes of a presentation, and the system over them.

Everything here follows from the request and from what is public of the credentials, so that
prover and verifier come to the same. The same request over the same kinds of credentials gives the
same layout, which is therefore kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from zkp.errors import StatementInvalid
from zkp.keys import PublicKey
from zkp.linear import LinearSystem
from zkp.predicates import EPOCH, STATUS_TOKEN, Compiler
from zkp.request import ProofRequest
from zkp.schema import Schema, Value
from zkp.statements import NotRevoked, Place, Reveal, Statement

HOLDER: Final = ""  # in place of an attribute's name: the holder's secret


@dataclass(frozen=True)
class PresentedCredential:
    """What a presentation shows of a credential: whose it is, of what kind, and what is revealed.

    `bound` says that it has a holder's secret as its last message.
    """

    key: PublicKey
    header: bytes
    bound: bool
    revealed: Mapping[str, Value] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[bytes, bool]:
        """What its messages are, whatever they hold."""
        return self.header, self.bound


@dataclass(frozen=True)
class Layout:
    """`hidden[name]`: the indexes of a credential's hidden messages and their variables."""

    schemas: Mapping[str, Schema]
    issuers: Mapping[str, str]
    shown: Mapping[str, tuple[str, ...]]
    hidden: Mapping[str, tuple[tuple[int, int], ...]]
    compiler: Compiler
    system: LinearSystem

    @staticmethod
    def of(request: ProofRequest, shown: Mapping[str, PresentedCredential]) -> "Layout":
        """Raises `StatementInvalid`, `SchemaInvalid`, `TooLarge`.

        A status token has to be of the credential's own issuer key and of the schema of status
        tokens; that its epoch is the one asked for is checked with the values that are revealed.
        """
        if set(shown) != set(request.credentials):
            raise StatementInvalid("a presentation has the credentials that the request names")
        for statement in request.statements:
            if isinstance(statement, NotRevoked):
                credential, token = shown[statement.place.credential], shown[statement.token]
                if credential.key != token.key or token.bound:
                    raise StatementInvalid("a status token is of the credential's own issuer key")
        kinds = tuple((name, *shown[name].kind) for name in request.credentials)
        return _layout(request.statements, kinds)


@lru_cache(maxsize=256)
def _layout(
    statements: tuple[Statement, ...], kinds: tuple[tuple[str, bytes, bool], ...]
) -> Layout:
    schemas, issuers = {}, {}
    for name, header, _ in kinds:
        schemas[name], issuers[name] = Schema.from_header(header)
    places = {statement.place for statement in statements if isinstance(statement, Reveal)}
    for statement in statements:
        if isinstance(statement, NotRevoked):
            if schemas[statement.token] != STATUS_TOKEN:
                raise StatementInvalid("a status token is of the schema of status tokens")
            places.add(Place(statement.token, EPOCH))
    variables: dict[Place, int] = {}
    hidden: dict[str, tuple[tuple[int, int], ...]] = {}
    shown: dict[str, tuple[str, ...]] = {}
    for name, _, bound in kinds:
        names = [attribute.name for attribute in schemas[name].attributes] + [HOLDER] * bound
        of_this = []
        for index, attribute in enumerate(names):
            if Place(name, attribute) not in places:
                variables[Place(name, attribute)] = len(variables)
                of_this.append((index, variables[Place(name, attribute)]))
        hidden[name] = tuple(of_this)
        shown[name] = tuple(one for one in names if Place(name, one) in places)
    compiler = Compiler(schemas, variables)
    for statement in statements:
        compiler.add(statement)
    system = compiler.system()
    _ = system.pivots  # contradictions show here
    return Layout(schemas, issuers, shown, hidden, compiler, system)


def revealed_values(
    request: ProofRequest, layout: Layout, shown: Mapping[str, PresentedCredential]
) -> None:
    """Check that exactly what was asked is revealed. Raises `StatementInvalid`."""
    for name, credential in shown.items():
        if tuple(sorted(credential.revealed)) != tuple(sorted(layout.shown[name])):
            raise StatementInvalid("a presentation reveals exactly what the request asks for")
    for statement in request.statements:
        if isinstance(statement, NotRevoked):
            epoch = shown[statement.token].revealed[EPOCH]
            if type(epoch) is not int or epoch != statement.epoch:
                raise StatementInvalid("the status token is of another epoch than was asked for")

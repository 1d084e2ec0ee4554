"""Encodings that signatures and hashes are computed over.

Canonical JSON (RFC 8785) and base64url without padding (RFC 7515, section 2), both strict: one
value has exactly one encoding, so that a changed character is always a changed value.
"""

import binascii

import orjson

from credentials.errors import Malformed, TooLarge

MAX_CANONICAL_DEPTH = 64

_SERIALIZE = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    # RFC 8785, section 3.2.2.3: numbers are IEEE 754 doubles, so integers stop at 2**53 - 1.
    | orjson.OPT_STRICT_INTEGER
)
_PLAIN = frozenset({str, int, bool, type(None)})
_TO_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")
# Maps the URL alphabet to the standard one, and the characters that only the standard one has,
# padding included, to one that binascii refuses.
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")
# RFC 4648, section 3.5: the bits of the last character that carry no data must be zero. One
# character after a multiple of four can never be.
_LAST_CHARACTERS = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")


def b64url(data: bytes) -> str:
    """Encode bytes as base64url without padding (RFC 7515, section 2)."""
    encoded = binascii.b2a_base64(data, newline=False)
    return encoded.translate(_TO_URL_ALPHABET).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode base64url without padding, accepting only the one canonical spelling.

    Raises `Malformed` on padding, characters of other alphabets, impossible lengths and non-zero
    trailing bits.
    """
    try:
        return b64url_decode_ascii(text.encode("ascii"))
    except UnicodeEncodeError:
        raise Malformed("not base64url: a character outside its alphabet") from None


def b64url_decode_ascii(encoded: bytes) -> bytes:
    """Decode like `b64url_decode`, from bytes. Raises `Malformed`."""
    rest = len(encoded) & 3
    if rest and encoded[-1] not in _LAST_CHARACTERS[rest]:
        raise Malformed("not base64url without padding: bad length or trailing bits")
    try:
        standard = encoded.translate(_TO_STANDARD_ALPHABET) + _PADDING[rest]
        return binascii.a2b_base64(standard, strict_mode=True)
    except binascii.Error:
        raise Malformed("not base64url: a character outside its alphabet") from None


def canonical(value: object) -> bytes:
    """Serialize a JSON value by the JSON Canonicalization Scheme (RFC 8785), as UTF-8.

    Takes str, int, bool, None, list, tuple and dict with str keys. Floats are refused although
    RFC 8785 defines them: nothing that is signed here holds one, and their spelling is where
    implementations differ.

    Raises `Malformed` for any other type, for integers beyond 2**53 - 1 and for lone surrogates,
    and `TooLarge` for more than `MAX_CANONICAL_DEPTH` levels.
    """
    _check(value, MAX_CANONICAL_DEPTH)
    try:
        encoded = orjson.dumps(value, option=_SERIALIZE | orjson.OPT_SORT_KEYS)
        if not encoded.isascii():
            # RFC 8785, section 3.2.3 sorts by UTF-16 code units, orjson by code points. They
            # differ where a surrogate pair meets U+E000 to U+FFFF.
            encoded = orjson.dumps(_sorted(value), option=_SERIALIZE)
    except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
        raise Malformed(f"value has no canonical JSON form: {error}") from None
    return encoded


def _check(value: object, depth: int) -> None:
    if type(value) in _PLAIN:
        return
    if depth == 0:
        raise TooLarge(f"JSON value is nested deeper than {MAX_CANONICAL_DEPTH} levels")
    if isinstance(value, dict):
        for key, member in value.items():
            if type(key) is not str:
                raise Malformed("JSON object keys must be strings")
            if type(member) not in _PLAIN:  # most are: a call saved
                _check(member, depth - 1)
    elif isinstance(value, list | tuple):
        for element in value:
            if type(element) not in _PLAIN:
                _check(element, depth - 1)
    else:
        raise Malformed(f"a {type(value).__name__} has no canonical JSON form here")


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _sorted(value[key])
            for key in sorted(value, key=lambda name: name.encode("utf-16-be"))
        }
    if isinstance(value, list | tuple):
        return [_sorted(element) for element in value]
    return value

"""Maskings: how much of a value is left when it is sealed masked, each a plain function by name.

A wallet masks before it seals, since afterwards nobody can. What cannot be recognised as what the
masking is for is hidden wholly: a masking that fails leaves nothing, never everything.

    name             万** of a name; the family name, one character or one word, is left
    id_number        a Chinese resident's number (GB 11643): 310***********1234
    phone            138****5678; a country code in front of it stays
    address          down to the district, of one that begins with its province: 上海市浦东新区****
    medical_summary  of an object its `category` and `year` alone
    year             of a date its year
    round_10, round_100, round_1000
                     a number, rounded half to even

How it may evolve: what a name does never changes; another way of masking gets a new name.
"""

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

HIDDEN: Final = "****"
LONGEST: Final = 4_096
MOBILE_DIGITS: Final = 11
_ID_NUMBER: Final = re.compile(r"[1-9][0-9]{16}[0-9Xx]")
_PHONE: Final = re.compile(r"(?P<code>\+[0-9]{1,3}[ -]?)?(?P<number>[0-9]{7,14})")
# An address has to begin with one of these: whatever stands before it could be a name.
_PROVINCES: Final = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北"
    "|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_REGION: Final = r"[^省市区县旗州盟\s,，0-9]{1,12}"
_ADDRESS: Final = re.compile(
    rf"(?:{_PROVINCES})(?:省|市|(?:壮族|回族|维吾尔)?自治区|特别行政区)?"
    rf"(?:{_REGION}(?:市|自治州|地区|盟))?(?:{_REGION}(?:自治县|区|县|旗|市))?"
)
_DATE: Final = re.compile(r"(?P<year>[0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_MEDICAL: Final = ("category", "year")
_ADDRESS_PARTS: Final = ("country", "province", "city", "district")
MOST_DIGITS: Final = 15

Mask = Callable[[Any], Any]


def masked(name: str, value: object) -> Any:  # noqa: ANN401 (a JSON value)
    """A JSON value as the masking of this name leaves it; `KeyError` for a name that is none."""
    if isinstance(value, str) and len(value) > LONGEST:
        value = ""
    return MASKINGS[name](value)


def _name(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        return HIDDEN
    if text.isascii():
        first = text.split()[0]
        return f"{first} **" if len(first) < len(text) else f"{text[0]}**"
    return f"{text[0]}**"


def _id_number(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if _ID_NUMBER.fullmatch(text) is None:
        return HIDDEN
    return f"{text[:3]}{'*' * 11}{text[-4:]}"


def _phone(value: object) -> object:
    found = _PHONE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return HIDDEN
    number = found["number"]
    # Of a mobile number the network and four digits; of a short one two.
    first, last = (3, 4) if len(number) >= MOBILE_DIGITS else (0, 2)
    hidden = "*" * (len(number) - first - last)
    return f"{found['code'] or ''}{number[:first]}{hidden}{number[-last:]}"


def _address(value: object) -> object:
    if isinstance(value, Mapping):
        parts = {name: value[name] for name in _ADDRESS_PARTS if isinstance(value.get(name), str)}
        return parts or HIDDEN
    found = _ADDRESS.match(value.strip()) if isinstance(value, str) else None
    return f"{found[0]}{HIDDEN}" if found is not None else HIDDEN


def _medical_summary(value: object) -> object:
    if not isinstance(value, Mapping):
        return HIDDEN
    kept = {
        name: value[name]
        for name in _MEDICAL
        if isinstance(value.get(name), str | int) and len(str(value[name])) <= LONGEST
    }
    return kept or HIDDEN


def _year(value: object) -> object:
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    return HIDDEN if found is None else found["year"]


def _rounded(step: int) -> Mask:
    def mask(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return HIDDEN
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            return HIDDEN
        if not number.is_finite() or number.adjusted() > MOST_DIGITS:
            return HIDDEN
        return int((number / step).quantize(Decimal(1), ROUND_HALF_EVEN)) * step

    return mask


MASKINGS: Final[Mapping[str, Mask]] = {
    "name": _name,
    "id_number": _id_number,
    "phone": _phone,
    "address": _address,
    "medical_summary": _medical_summary,
    "year": _year,
    "round_10": _rounded(10),
    "round_100": _rounded(100),
    "round_1000": _rounded(1_000),
}
"""What each masking does, by its name."""

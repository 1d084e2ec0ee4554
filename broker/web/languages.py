"""Chinese and English: which one a visitor reads, and how it writes dates, places and lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from babel import Locale, dates, lists
from babel.core import negotiate_locale
from babel.support import NullTranslations, Translations
from starlette.requests import Request

from broker.domain.terms import Label

LANGUAGES = ("zh", "en")
DEFAULT = "zh"
COOKIE = "lang"
COOKIE_SECONDS = 31_536_000
CATALOGS = Path(__file__).parent / "locale"

# Places without daylight saving, where a clock is known from the country alone. Elsewhere times
# are shown in UTC, and every time says by which clock it is meant.
_HOURS_EAST: Mapping[str, int] = {
    "CN": 8,
    "HK": 8,
    "MO": 8,
    "MY": 8,
    "SG": 8,
    "TW": 8,
    "JP": 9,
    "KR": 9,
}
_LOCALES: Mapping[str, str] = {"zh": "zh_Hans_CN", "en": "en_GB"}
_TAGS: Mapping[str, str] = {"zh": "zh-Hans", "en": "en"}


@dataclass(frozen=True)
class Language:
    """A language of the pages: its code (`zh`, `en`), its catalog and its customs."""

    code: str
    locale: Locale
    translations: NullTranslations

    @property
    def tag(self) -> str:
        """The BCP 47 tag of the `lang` attribute."""
        return _TAGS[self.code]

    @property
    def other(self) -> str:
        """The code of the other language, for the switch at the top of every page."""
        return next(code for code in LANGUAGES if code != self.code)

    def text(self, label: Label) -> str:
        """The label in this language."""
        return label.zh if self.code == "zh" else label.en

    def said_of(self, name: str, predicate: Label) -> str:
        """A sentence of a company and what a template says of it ("asks to use your data").

        The name always comes from the register: no template can speak in another's name.
        """
        return (
            f"{name}{self.text(predicate)}"
            if self.code == "zh"
            else f"{name} {self.text(predicate)}"
        )

    def place(self, country: str) -> str:
        """The name of a country by its ISO 3166-1 code; the code itself when it has no name."""
        name = self.locale.territories.get(country)
        return country if name is None else str(name)

    def listed(self, items: list[str]) -> str:
        """Some names as one phrase: "a, b and c"."""
        return lists.format_list(items, locale=self.locale) if items else ""

    def date(self, moment: int, country: str) -> str:
        """The day of a moment (Unix seconds) by the clock of a country."""
        return dates.format_date(_local(moment, country), "long", locale=self.locale)

    def clock(self, moment: int, country: str) -> str:
        """Hour and minute of a moment by the clock of a country, naming the clock."""
        return f"{_local(moment, country):%H:%M} ({_zone_name(country)})"

    def moment(self, moment: int, country: str) -> str:
        """Day, hour and minute of a moment by the clock of a country, naming the clock."""
        return f"{self.date(moment, country)} {self.clock(moment, country)}"


@cache
def language(code: str) -> Language:
    """The language with this code, its catalog read once."""
    translations = Translations.load(CATALOGS, [code])
    return Language(code, Locale.parse(_LOCALES[code]), translations)


def choose_language(request: Request) -> Language:
    """The language of a visitor: `?lang=`, then their earlier choice, then the browser's wish.

    The earlier choice is a cookie, set when `?lang=` is used. Chinese when nothing says otherwise.
    """
    for wish in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return language(wish)
    accepted = _accepted(request.headers.get("accept-language", ""))
    found = negotiate_locale(accepted, [*_LOCALES.values(), *LANGUAGES], sep="_")
    return language(DEFAULT if found is None else found.split("_")[0])


def _accepted(header: str) -> list[str]:
    """The languages of an Accept-Language header (RFC 9110 section 12.5.4), most wanted first."""
    wanted: list[tuple[float, str]] = []
    for part in header.split(",")[:20]:
        tag, _, weight = part.partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 0.0
        name = tag.strip().replace("-", "_")
        if name and name != "*" and quality > 0:
            wanted.append((quality, name.split("_")[0] if name.startswith("zh") else name))
    return [tag for _, tag in sorted(wanted, key=lambda pair: -pair[0])]


def _local(moment: int, country: str) -> datetime:
    return datetime.fromtimestamp(moment, timezone(timedelta(hours=_HOURS_EAST.get(country, 0))))


def _zone_name(country: str) -> str:
    hours = _HOURS_EAST.get(country, 0)
    return f"UTC+{hours}" if hours else "UTC"

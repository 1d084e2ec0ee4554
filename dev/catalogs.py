"""`python -m dev.catalogs`: keep the pages' texts, the two catalogs and the compiled files in step.

Texts stand in English in the templates. The Chinese catalog is translated by hand; the English one
repeats the text. `--check` changes nothing and says what is out of step.
"""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
WEB = ROOT / "broker" / "web"
LOCALES = {"zh": "zh_Hans_CN", "en": "en"}
WIDTH = 100
NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)  # the same texts give the same bytes on every day


def extracted() -> Catalog:
    """Every text of the templates."""
    with (ROOT / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    catalog = Catalog(charset="utf-8")
    for _, _, message, _, _ in extract_from_dir(WEB, methods, options):
        catalog.add(message)
    return catalog


def po_path(code: str) -> Path:
    """The catalog of a language."""
    return WEB / "locale" / code / "LC_MESSAGES" / "messages.po"


def stored(code: str) -> Catalog:
    """The catalog of a language as it is stored; empty before the first time."""
    path = po_path(code)
    if not path.exists():
        return Catalog(locale=LOCALES[code])
    with path.open("rb") as file:
        return read_po(file, locale=LOCALES[code])


def merged(code: str, texts: Catalog) -> Catalog:
    """The stored catalog with the texts of today: new ones empty (English: filled), no old ones."""
    before = stored(code)
    catalog = Catalog(
        locale=LOCALES[code],
        project="consent-broker",
        version="1",
        charset="utf-8",
        fuzzy=False,
        header_comment=f"# Texts of the pages: {code}.",
        creation_date=NO_DATE,
        revision_date=NO_DATE,
        language_team=code,
        last_translator="consent-broker",
        msgid_bugs_address="consent-broker",
    )
    for message in sorted((m for m in texts if m.id), key=lambda m: str(m.id)):
        known = before.get(message.id if isinstance(message.id, str) else message.id[0])
        if code == "en":
            text = message.id
        else:
            text = known.string if known is not None and known.string else ""
        catalog.add(message.id, text)
    return catalog


def compiled(catalog: Catalog) -> bytes:
    """The catalog as gettext reads it."""
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def printed(catalog: Catalog) -> bytes:
    """The catalog as people edit it."""
    buffer = io.BytesIO()
    write_po(buffer, catalog, width=WIDTH, no_location=True)
    return buffer.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """The texts that have no translation in this catalog."""
    return [str(m.id) for m in catalog if m.id and (not m.string or not all(_forms(m.string)))]


def _forms(string: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (string,) if isinstance(string, str) else tuple(string)


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare; 1 when something is out of step or not translated."""
    texts, problems = extracted(), []
    for code in LOCALES:
        catalog = merged(code, texts)
        po, mo = po_path(code), po_path(code).with_suffix(".mo")
        wanted = {po: printed(catalog), mo: compiled(catalog)}
        problems += [f"{code}: not translated: {text}" for text in untranslated(catalog)]
        for path, content in wanted.items():
            if path.exists() and path.read_bytes() == content:
                continue
            if "--check" in arguments:
                problems.append(f"{path.relative_to(ROOT)} is out of step: python -m dev.catalogs")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

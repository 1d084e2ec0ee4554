"""One input given to one parser, and whether it was refused as it must be."""

from tests.fuzzing.parser import Parser


class Escaped(AssertionError):
    """A parser raised what is not of its family; the message gives the input."""


def judge(parser: Parser, data: bytes) -> bool:
    """Whether `parser` accepted `data`. Raises `Escaped` for any error but leaves of its family."""
    try:
        parser.act(data)
    except parser.families as error:
        code = getattr(error, "code", None)
        roots = {getattr(family, "code", None) for family in parser.families}
        if code is not None and code in roots:
            raise Escaped(f"{parser.name} has no code of its own for {data[:2000]!r}") from error
        description = getattr(error, "description", "")
        if not description.isascii():
            raise Escaped(
                f"{parser.name} tells what no header may hold: {data[:2000]!r}"
            ) from error
        return False
    except BaseException as error:  # native code panics outside of Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise Escaped(f"{parser.name}: {error!r} for {data[:2000]!r}") from error
    return True

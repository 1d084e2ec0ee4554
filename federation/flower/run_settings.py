"""What a run's settings may say: what the board signed, and which campaign of the broker's it is.

An application that follows Flower's guides reads `context.run_config`: what its bundle declares
under `[tool.flwr.app.config]`, with whatever the run was started with in its place. The bundle is
signed, by its hash; what a run is started with is signed by nobody. So a member takes part where
each setting is

    campaign      the broker's id of the campaign, which the coordinator says
    a parameter   the campaign's own value, to the type: the coordinator puts it there
    any other     what the bundle declares

and else refuses (`parameters_differ`). Of a parameter that is an object the settings are named as
Flower names those of a table: `outer.inner`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from flwr.common.config import flatten_dict, get_fab_config

from federation.campaign import CAMPAIGN
from federation.errors import Malformed, ParametersDiffer
from federation.flower.settings import ID

Settings = Mapping[str, bool | float | int | str]


def settings_of(bundle: bytes, parameters: Mapping[str, Any], campaign: str) -> dict[str, Any]:
    """What a coordinator starts a run with.

    The broker's id of the campaign, and of the board's parameters those that the bundle declares
    as settings. Raises `Malformed`.
    """
    declared, signed = _declared(bundle), dict(_leaves(parameters))
    named = {name: signed[name] for name in declared.keys() & signed.keys()}
    return {
        **{name: one for name, one in named.items() if isinstance(one, bool | int | str)},
        CAMPAIGN: campaign,
    }


def with_settings(
    parameters: Mapping[str, Any], settings: Settings, above: str = ""
) -> dict[str, Any]:
    """The parameters that a run has: where a setting names one, the setting's value is it."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        at = above + name
        if at in settings:
            found[name] = settings[at]
        elif isinstance(value, dict):
            found[name] = with_settings(value, settings, f"{at}.")
        else:
            found[name] = value
    return found


def check_settings(settings: Settings, bundle: bytes, parameters: Mapping[str, Any]) -> None:
    """Check what is no parameter; `bundle` is the signed one. Raises `ParametersDiffer`.

    Those that are parameters are compared with the campaign's (`with_settings`, `open_round`).
    """
    if not settings:
        return
    declared, signed = _declared(bundle), dict(_leaves(parameters))
    for name, value in settings.items():
        if name in signed or (name == CAMPAIGN and ID.fullmatch(str(value))):
            continue
        usual = declared.get(name)
        if type(value) is not type(usual) or value != usual:
            raise ParametersDiffer(
                f"the run's setting {name[:64]!r} is neither a parameter of the campaign nor what "
                "the bundle declares"
            )


def _leaves(parameters: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each parameter by the name of its setting, those that are objects too."""
    for name, value in parameters.items():
        yield above + name, value
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")


def _declared(bundle: bytes) -> Mapping[str, Any]:
    try:
        told = get_fab_config(bundle)["tool"]["flwr"]["app"].get("config")
        declared: dict[str, Any] = flatten_dict(told)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the bundle's pyproject.toml declares no settings: {error}") from None
    return declared

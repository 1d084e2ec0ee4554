"""AUC by round as an SVG, drawn by hand: no library for three lines."""

from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 190, 30, 50
COLOURS: Final = {"federated": "#0b6e4f", "central": "#1d3557", "alone": "#8d99ae"}
STEPS: Final = 5
NAMESPACE: Final = "http://www.w3.org/2000/svg"
FONT: Final = 'font-family="sans-serif" font-size="13"'
TITLE: Final = "AUC by round: members together, all rows in one place, each member alone"


def svg(
    federated: Sequence[float],
    central: float,
    alone: Sequence[float],
    *,
    withdrawn_after: int,
    promoted_after: int,
) -> str:
    """The models of the rounds, beside one of all rows together and each member's own.

    `withdrawn_after` and `promoted_after` count rounds: of a withdrawal, and of the pilot's end.
    """
    values = [*federated, central, *alone]
    low, high = min(values) - 0.005, max(values) + 0.005
    rounds = len(federated)

    def across(number: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (number - 1) / max(1, rounds - 1)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18">{TITLE}</text>',
    ]
    for step in range(STEPS + 1):
        value = low + (high - low) * step / STEPS
        parts.append(_line(LEFT, up(value), WIDTH - RIGHT, up(value), "#e5e5e5"))
        parts.append(_text(LEFT - 8, up(value) + 4, f"{value:.3f}", "#333", "end"))
    parts += [
        _text(across(number), HEIGHT - BOTTOM + 18, str(number), "#333", "middle")
        for number in range(1, rounds + 1)
    ]
    parts.append(_text(across((1 + rounds) / 2), HEIGHT - 10, "round", "#333", "middle"))
    for after, text, colour, down in (
        (promoted_after, "the pilot's model is promoted", COLOURS["central"], 28),
        (withdrawn_after, "a customer withdraws", "#c1121f", 12),
    ):
        if 0 < after < rounds:
            place = across(after + 0.5)
            parts.append(_line(place, TOP, place, HEIGHT - BOTTOM, colour, dashed=True))
            parts.append(_text(place + 4, TOP + down, text, colour))
    named = [("central", central, "all rows in one place")]
    named += [("alone", value, f"member {number} alone") for number, value in enumerate(alone, 1)]
    for kind, value, label in named:
        end = WIDTH - RIGHT
        parts.append(_line(LEFT, up(value), end, up(value), COLOURS[kind], dashed=True))
        shown = f"{label} {value:.3f}"
        parts.append(_text(end + 6, up(value) + 4, shown, COLOURS[kind]))
    points = " ".join(f"{across(n):.1f},{up(v):.1f}" for n, v in enumerate(federated, 1))
    colour = COLOURS["federated"]
    parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    for number, value in enumerate(federated, 1):
        at = f'cx="{across(number):.1f}" cy="{up(value):.1f}"'
        parts.append(f'<circle {at} r="4" fill="{colour}"/>')
    last = f"federated {federated[-1]:.3f}"
    parts.append(_text(across(rounds) - 8, up(federated[-1]) - 8, last, colour, "end"))
    return "\n".join([*parts, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}"{dash}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'

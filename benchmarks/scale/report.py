"""The figures as a table for the terminal, and as a plot for the documentation."""

from collections.abc import Mapping, Sequence
from math import log10

from rich.console import Console
from rich.table import Table

from benchmarks.scale.experiment import Found, Grown
from benchmarks.scale.plans import Taken
from benchmarks.scale.real import Sizes

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 760, 380, 70, 44, 46, 230
COLOURS = ("#0b6e6e", "#b4540a", "#5b3fa0", "#a11d4b", "#2f6b1f", "#1f4f9c", "#7a6a00", "#444444")
MIB = 1_048_576
HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    'font-family="system-ui, sans-serif" font-size="12" fill="#222">'
)


def show(found: Found, console: Console) -> None:
    """Print everything that was measured."""
    real = found.real
    table = Table("act", "times", "broker ms", "database ms", "MiB after", title="Real acts")
    for cost in real.costs:
        table.add_row(
            cost.act,
            f"{cost.times:,}",
            f"{cost.broker_ms:.2f}",
            f"{cost.database_ms:.2f}",
            f"{cost.memory_mib:.0f}",
        )
    console.print(table)
    console.print(
        f"idle {real.idle_mib:.0f} MiB; {real.log_bytes_per_customer:,.0f} bytes of WAL a customer"
    )
    console.print(_sizes(f"Real rows, {real.customers:,} customers", real.sizes))
    for one in found.grown:
        console.print(_sizes(f"{one.rows:,} consents, {one.form}", one.sizes))
        console.print(_statements(one))


def _sizes(title: str, sizes: Sizes) -> Table:
    table = Table("table", "rows", "MiB", "indexes, MiB", "bytes a row", title=title)
    for name, (data, indexes, rows) in sizes.items():
        if rows:
            each = f"{(data + indexes) / rows:,.0f}"
            table.add_row(name, f"{rows:,}", f"{data / MIB:,.1f}", f"{indexes / MIB:,.1f}", each)
    return table


def _statements(one: Grown) -> Table:
    columns = ("act", "ms warm", "p95", "pages", "ms cold", "pages read", "by")
    table = Table(*columns, title=f"{one.rows:,} consents, {one.form}")
    for warm, cold in zip(one.warm, one.cold, strict=True):
        table.add_row(
            warm.act,
            f"{warm.milliseconds:.2f}",
            f"{warm.slow_milliseconds:.2f}",
            f"{warm.hit + warm.read:.0f}",
            f"{cold.milliseconds:.2f}",
            f"{cold.read:.0f}",
            ", ".join(warm.scans),
        )
    return table


def plot(grown: Sequence[Grown]) -> str:
    """An SVG of how long each act's statements take, by the number of consents; both by powers."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for one in grown:
        for taken in one.warm:
            lines.setdefault(taken.act, []).append((one.rows, _least(taken)))
    across = [log10(rows) for points in lines.values() for rows, _ in points]
    up = [log10(value) for points in lines.values() for _, value in points]
    left, right = min(across), max(across) + (min(across) == max(across))
    low, high = int(min(up)) - 1, int(max(up)) + 1

    def place(rows: int, value: float) -> tuple[float, float]:
        x = LEFT + (log10(rows) - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [
        HEAD,
        "<title>Milliseconds of the database for each act, by the number of consents</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">milliseconds in the database</text>',
    ]
    for power in range(low, high + 1):
        _, y = place(10 ** round(left), 10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    for rows in sorted({one.rows for one in grown}):
        x, _ = place(rows, 10.0**low)
        parts.append(f'<text x="{x}" y="{HEIGHT - 20}" text-anchor="middle">{rows:,}</text>')
    parts += _curves({act: [place(*point) for point in points] for act, points in lines.items()})
    return "\n".join([*parts, "</svg>", ""])


def _curves(lines: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    parts, taken = [], 0.0
    ordered = sorted(lines.items(), key=lambda line: line[1][-1][1])
    for number, (act, points) in enumerate(ordered):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
        # Names keep a line's height between them.
        taken = max(points[-1][1] + 4, taken + 15)
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{taken}" fill="{colour}">{act}</text>')
    return parts


def _least(taken: Taken) -> float:
    return max(taken.milliseconds, 0.001)

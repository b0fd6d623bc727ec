"""Charts as inline SVG, with colours and fonts from the page's style sheet."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
"""Number of colours in the style sheet; more systems share them."""
WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 44
LINE = 14
"""Minimum vertical distance between two labels, in pixels."""
LETTER = 7.2
"""Approximate width of a letter in a label."""
BROAD = 1040
"""Width of a chart across the page."""


@dataclass(frozen=True, slots=True)
class Point:
    """One system in a scatter plot; lower `x` and higher `y` are better."""

    name: str
    x: float
    y: float
    colour: int


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the Pareto front, the points that no other point beats in both `x` and `y`, in ascending order of `x`."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def scatter(points: Sequence[Point], *, x_title: str, y_title: str, label: str) -> str:
    """Draw quality against a cost on a logarithmic axis, the Pareto front as a line through filled points."""
    left, right = min(point.x for point in points) / 1.5, max(point.x for point in points) * 1.5
    low, high, y_ticks = _nice([point.y for point in points])
    front = pareto(points)

    def place(point: Point) -> tuple[float, float]:
        across = (math.log(point.x) - math.log(left)) / (math.log(right) - math.log(left))
        return LEFT + across * (WIDTH - LEFT - RIGHT), _height(point.y, low, high)

    marks = [_axes(y_ticks, low, high, x_title, y_title)]
    for tick in _powers(left, right):
        x = place(Point("", tick, low, 0))[0]
        marks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        marks.append(_text(x, HEIGHT - BOTTOM + 16, _short(tick), "tick middle"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, front))
    marks.append(f'<polyline class="front" points="{path}"/>')
    for point, (x, y) in zip(points, map(place, points), strict=True):
        kind = "on" if point in front else "off"
        hint = f"{point.name}: {y_title} {point.y:.4f}, {x_title} {_short(point.x)}"
        marks.append(
            f'<circle class="dot {kind} c{point.colour % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="6">'
            f"<title>{escape(hint)}</title></circle>"
        )
    marks += [
        _text(x, y, name, f"label {side} c{colour % COLOURS}") for x, y, name, side, colour in _labels(points, place)
    ]
    return _svg("".join(marks), label)


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], colours: Mapping[str, int], *, label: str) -> str:
    """Draw recall by depth on a logarithmic axis, with each system's name at the end of its line."""
    deepest = max(depth for line in lines.values() for depth, _ in line)
    low, high, y_ticks = _nice([value for line in lines.values() for _, value in line])
    room = 12 + LETTER * max(len(name) for name in lines)
    right = BROAD - min(room, BROAD / 2.5)

    def across(depth: int) -> float:
        return LEFT + (math.log(depth) / math.log(deepest) if deepest > 1 else 0.0) * (right - LEFT)

    marks = [_axes(y_ticks, low, high, "depth (hits)", "recall", right)]
    for depth in sorted({depth for line in lines.values() for depth, _ in line}):
        if f"{depth}"[0] in "15" and set(f"{depth}"[1:]) <= {"0"}:
            marks.append(_text(across(depth), HEIGHT - BOTTOM + 16, f"{depth}", "tick middle"))
    ends = []
    for name, line in lines.items():
        colour = f"c{colours[name] % COLOURS}"
        path = " ".join(f"{across(depth):.1f},{_height(value, low, high):.1f}" for depth, value in line)
        marks.append(f'<polyline class="line {colour}" points="{path}"/>')
        marks += [
            f'<circle class="small {colour}" cx="{across(depth):.1f}" cy="{_height(value, low, high):.1f}" r="3">'
            f"<title>{escape(name)}: R@{depth} {value:.4f}</title></circle>"
            for depth, value in line
        ]
        ends.append((_height(line[-1][1], low, high), name, across(line[-1][0])))
    for (_, name, x), y in zip(sorted(ends), _apart([end[0] for end in sorted(ends)]), strict=True):
        marks.append(_text(x + 8, y + 4, name, f"label start c{colours[name] % COLOURS}"))
    return _svg("".join(marks), label, BROAD)


def histogram(counts: Sequence[int], names: Sequence[str], most: int, colour: int, *, label: str) -> str:
    """Draw counts as bars; `most` is the top of the scale, the same for all histograms that are compared."""
    width, height, floor, ceiling = 320, 150, 112, 18
    step = (width - 16) / len(counts)
    marks = []
    for at, (count, name) in enumerate(zip(counts, names, strict=True)):
        tall = (floor - ceiling) * count / max(most, 1)
        x = 8 + at * step
        kind = "missed" if at == len(counts) - 1 else f"c{colour % COLOURS}"
        marks.append(
            f'<rect class="bar {kind}" x="{x + 2:.1f}" y="{floor - tall:.1f}" width="{step - 4:.1f}" '
            f'height="{tall:.1f}"><title>{escape(name)}: {count} queries</title></rect>'
        )
        marks.append(_text(x + step / 2, floor - tall - 4, f"{count}", "tick middle"))
        marks.append(_text(x + step / 2, floor + 15, name, "tick middle tiny"))
    marks.append(f'<line class="axis" x1="8" x2="{width - 8}" y1="{floor}" y2="{floor}"/>')
    marks.append(_text(width / 2, floor + 32, "rank of the first relevant hit", "tick middle"))
    return _svg("".join(marks), label, width, height)


def interval(difference: float, low: float, high: float, reach: float) -> str:
    """Draw a difference with its confidence interval, on a scale from -reach to +reach with a line at zero."""
    width, height = 160, 22

    def across(value: float) -> float:
        return width / 2 + value / (reach or 1.0) * (width / 2 - 8)

    kind = "good" if low > 0 else "bad" if high < 0 else "open"
    return _svg(
        f'<line class="axis" x1="{width / 2}" x2="{width / 2}" y1="1" y2="{height - 1}"/>'
        f'<line class="span {kind}" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="11" y2="11"/>'
        f'<circle class="middle {kind}" cx="{across(difference):.1f}" cy="11" r="4"/>',
        f"{signed(difference)}, 95% interval {signed(low)} to {signed(high)}",
        width,
        height,
    )


def signed(difference: float) -> str:
    """Format a difference with its sign, or without one if it rounds to zero."""
    text = f"{difference:+.4f}"
    return text[1:] if float(text) == 0 else text


def key(colour: int) -> str:
    """Return the coloured dot before a system's name."""
    return f'<span class="key c{colour % COLOURS}"></span>'


def _labels(
    points: Sequence[Point], place: Callable[[Point], tuple[float, float]]
) -> list[tuple[float, float, str, str, int]]:
    """Place each name to the right of its point, or to the left at the right edge; move overlapping ones down."""
    labels: list[tuple[float, float, str, str, int]] = []
    occupied: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: -point.y):
        x, y = place(point)
        width = LETTER * len(point.name)
        side = "end" if x + 10 + width > WIDTH - 4 else "start"
        start = x - 10 - width if side == "end" else x + 10
        y += 4
        while any(abs(y - other) < LINE and start < stop and first < start + width for first, stop, other in occupied):
            y += 2
        occupied.append((start, start + width, y))
        labels.append((x + (-10 if side == "end" else 10), y, point.name, side, point.colour))
    return labels


def _apart(heights: Sequence[float]) -> list[float]:
    """Move ascending heights down until they are `LINE` apart, and back up where they leave the frame."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + LINE) if moved else height)
    limit = float(HEIGHT - BOTTOM)
    for at in range(len(moved) - 1, -1, -1):
        moved[at] = min(moved[at], limit)
        limit = moved[at] - LINE
    return moved


def _axes(
    ticks: Sequence[float], low: float, high: float, x_title: str, y_title: str, right: float = WIDTH - RIGHT
) -> str:
    marks = []
    for tick in ticks:
        y = _height(tick, low, high)
        marks.append(f'<line class="grid" x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(_text(LEFT - 8, y + 4, f"{tick:.{_decimals(ticks)}f}", "tick end"))
    floor = HEIGHT - BOTTOM
    marks.append(f'<line class="axis" x1="{LEFT}" x2="{right:.1f}" y1="{floor}" y2="{floor}"/>')
    marks.append(_text((LEFT + right) / 2, HEIGHT - 6, x_title, "title middle"))
    turned = f"translate(14 {(TOP + floor) / 2:.0f}) rotate(-90)"
    marks.append(f'<text class="title middle" transform="{turned}">{escape(y_title)}</text>')
    return "".join(marks)


def _height(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)


def _nice(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Return a scale's lowest and highest value and about five round ticks; it ends at 1 if all values are below."""
    least, most = min(values), max(values)
    room = max((most - least) * 0.12, 0.005)
    rough = (most - least + 2 * room) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough)
    low = max(0.0, math.floor((least - room) / step) * step)
    high = min(math.ceil((most + room) / step) * step, max(1.0, most))
    return low, high, [low + step * at for at in range(math.floor((high - low) / step + 1e-9) + 1)]


def _powers(left: float, right: float) -> list[float]:
    """Return the powers of ten between two values and, if there are few, 2 and 5 times them."""
    powers = range(math.floor(math.log10(left)), math.ceil(math.log10(right)) + 1)
    ticks = [tick for power in powers for digit in (1, 2, 5) if left <= (tick := digit * 10.0**power) <= right]
    return ticks if len(ticks) <= 8 else [tick for tick in ticks if f"{tick:e}".startswith("1")]


def _decimals(ticks: Sequence[float]) -> int:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return next(places for places in range(6) if abs(round(step, places) - step) < 1e-9)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(marks: str, label: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{marks}</svg>'

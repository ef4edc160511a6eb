"""The plot of the ratios: one bar a kind of work, on a logarithmic axis, with a mark where it should reach."""

import math
from html import escape
from pathlib import Path

from bench_beside import Row

__all__ = ["draw"]

_LEFT, _WIDTH, _LINE, _TOP = 190, 560, 30, 58
_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)


def draw(rows: list[Row], path: Path) -> None:
    """Write an SVG of how many times better than the peer each row is."""
    height = _TOP + len(rows) * _LINE + 20
    most = max([row.ratio for row in rows] + [row.bar for row in rows] + [2.0]) * 1.15
    least = min([row.ratio for row in rows] + [0.7]) / 1.15

    def x(ratio: float) -> float:
        return _LEFT + _WIDTH * math.log(max(ratio, least) / least) / math.log(most / least)

    lines = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 70} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">'),
        "<title>How many times better than Orthanc, by kind of work</title>",
        f'<rect width="{_LEFT + _WIDTH + 70}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" font-size="14" fill="#222">Times better than Orthanc in clear (1 = the same)</text>',
    ]
    for tick in _TICKS:
        if least <= tick <= most:
            lines.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 12}" y2="{height - 14}" '
                         f'stroke="{"#222" if tick == 1 else "#ddd"}"/>')
            lines.append(f'<text x="{x(tick):.1f}" y="{_TOP - 18}" text-anchor="middle" fill="#444">{tick:g} x</text>')
    for number, row in enumerate(rows):
        y = _TOP + number * _LINE
        a, b = sorted((x(1), x(row.ratio)))
        fill = "#2f6f4f" if row.is_reached else "#b5651d"
        lines.append(f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end" fill="#222">{escape(row.what)}</text>')
        lines.append(f'<rect x="{a:.1f}" y="{y + 3}" width="{max(b - a, 1):.1f}" height="16" fill="{fill}"/>')
        lines.append(f'<line x1="{x(row.bar):.1f}" x2="{x(row.bar):.1f}" y1="{y}" y2="{y + 22}" stroke="#222" stroke-width="2"/>')
        end = max(b, x(row.bar)) + 6
        lines.append(f'<text x="{end:.1f}" y="{y + 15}" fill="#222">{row.ratio:.2g} x</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", "utf-8")

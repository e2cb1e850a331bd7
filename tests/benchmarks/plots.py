"""Bar charts as SVG by hand: no plotting library is worth a dependency for this."""

from collections.abc import Sequence
from html import escape

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 760, 250, 70, 62, 30


def bars(title: str, unit: str, values: Sequence[tuple[str, float]], *, target: float | None = None) -> str:
    """Horizontal bars, the first one stressed; a dashed line at the target."""
    height = _TOP + _ROW * len(values) + 16
    scale = (_WIDTH - _LEFT - _RIGHT) / max(*(value for _, value in values), target or 0.0, 1e-9)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600" fill="#1b1f24">{escape(title)}</text>',
        f'<text x="16" y="46" fill="#57606a">{escape(unit)}</text>',
    ]
    for row, (name, value) in enumerate(values):
        y, length = _TOP + row * _ROW, max(1.0, value * scale)
        fill = "#6a3fa0" if row == 0 else "#b9c0c8"
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end" fill="#1b1f24">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_ROW - 8}" rx="2" fill="{fill}"/>',
            f'<text x="{_LEFT + length + 8:.1f}" y="{y + 16}" fill="#1b1f24">{value:.3g}</text>',
        ]
    if target is not None:
        x = _LEFT + target * scale
        line = f'x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 12}"'
        parts += [
            f'<line {line} stroke="#c2410c" stroke-dasharray="4 3"/>',
            f'<text x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#c2410c">to reach: {target:g}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])

"""The methods' colours of the pictures on a dark ground."""

DARK_GROUND = "#1b1f24"
"""The lightest ground of the page's dark mode, `--card` of page.css."""

LEAST_CONTRAST = 3.5
"""Of a line or a mark with its ground: the least that WCAG 2.2 asks for (1.4.11) is 3, and lines are thin."""

_STEPS = 20


def on_dark(colour: str) -> str:
    """The colour, as #rrggbb, mixed with as little white as gives it `LEAST_CONTRAST` on the dark ground."""
    mixed = (_mixed_with_white(colour, step / _STEPS) for step in range(_STEPS + 1))
    return next(each for each in mixed if contrast(each, DARK_GROUND) >= LEAST_CONTRAST)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _mixed_with_white(colour: str, share: float) -> str:
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in _channels(colour))


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _channels(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

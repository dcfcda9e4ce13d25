"""Names and colours of classes."""

import colorsys
import re
from dataclasses import dataclass

IGNORE_CLASS = 255
_IGNORED_COLOR = (0, 0, 0)
_BACKGROUND_COLOR = (128, 128, 128)


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, in the order of their ids.

    Attributes:
        names: Of the classes; the ignored class has none.
        colors: (red, green, blue) of each class, 0..255; made up when left out.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        """Checks names and colours.

        Raises:
            ValueError: If there are fewer than two classes or more than 255, a name comes twice
                or is no single line of text, or the colours do not match the names.
        """
        if not 2 <= len(self.names) <= 255:
            few = " Put the background first, if it has no name." if len(self.names) == 1 else ""
            raise ValueError(f"names must have 2 to 255 classes; got {len(self.names)}.{few}")
        for name in self.names:
            if not isinstance(name, str) or not re.fullmatch(r"[^\x00-\x1f\x7f]+", name):
                raise ValueError(f"names must be lines of text; got {name!r}.")
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ValueError(f"names must differ; {', '.join(sorted(twice))} comes twice.")
        if not self.colors:
            object.__setattr__(self, "colors", _made_up_colors(len(self.names)))
        if len(self.colors) != len(self.names):
            raise ValueError(
                f"colors must be as many as names: {len(self.names)}; got {len(self.colors)}."
            )
        for color in self.colors:
            whole = all(isinstance(value, int) and 0 <= value <= 255 for value in color)
            if len(color) != 3 or not whole:
                raise ValueError(f"colors must be three numbers from 0 to 255; got {color}.")

    @classmethod
    def from_json(cls, record: dict) -> "Classes":
        """Returns the classes that `dataclasses.asdict` made a record of, by way of JSON or not.

        Raises:
            LookupError: If names or colours are missing.
            ValueError: As the constructor.
        """
        return cls(tuple(record["names"]), tuple(tuple(color) for color in record["colors"]))

    @property
    def num_classes(self) -> int:
        """How many classes there are, without the ignored one."""
        return len(self.names)

    def palette(self) -> list[int]:
        """Returns the 256 colours of a palette PNG, flat; ids without a class are black."""
        filled = [*self.colors, *[_IGNORED_COLOR] * (256 - len(self.colors))]
        return [value for color in filled for value in color]


def _made_up_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Returns colours that differ from their neighbours: hues a golden ratio apart.

    The first one is a quiet gray, because the first class is mostly the background.
    """
    colors = [_BACKGROUND_COLOR]
    for index in range(1, count):
        hue, value = index * 0.618034 % 1, (1.0, 0.75, 0.55)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, value)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colors)

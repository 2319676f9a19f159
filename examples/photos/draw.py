"""Draw photographs of road signs: six classes, 100 to 400 pixels, from near and clean to far, dark and half hidden.

usage: python draw.py FOLDER [--count N] [--seed S]

The files are FOLDER/CLASS/0000.jpg and so on. The same arguments give the same pictures.
"""

import argparse
import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Draw = ImageDraw.ImageDraw
Point = tuple[float, float]

SIDE = 240  # pixels of a sign before it is placed
RED, BLUE, YELLOW, WHITE, BLACK = (190, 25, 35), (25, 75, 160), (240, 190, 30), (245, 245, 245), (25, 25, 25)


def polygon(corners: int, radius: float, turn: float = 0.0) -> list[Point]:
    """Return the corners of a regular polygon around the middle of a sign; `turn` is in degrees from the top."""
    angles = [math.radians(turn - 90 + 360 * i / corners) for i in range(corners)]
    return [(SIDE / 2 + radius * math.cos(a), SIDE / 2 + radius * math.sin(a)) for a in angles]


def disc(draw: Draw, radius: float, colour: tuple[int, int, int]) -> None:
    """Draw a disc around the middle of a sign."""
    low, high = SIDE / 2 - radius, SIDE / 2 + radius
    draw.ellipse((low, low, high, high), fill=colour)


def stop(draw: Draw) -> None:
    """Draw a red octagon with a white line of text, whose letters are bars."""
    draw.polygon(polygon(8, 116, 22.5), fill=WHITE)
    draw.polygon(polygon(8, 106, 22.5), fill=RED)
    for left in (42, 84, 126, 168):
        draw.rectangle((left, 88, left + 30, 152), outline=WHITE, width=9)


def no_entry(draw: Draw) -> None:
    """Draw a red disc with a white bar."""
    disc(draw, 114, WHITE)
    disc(draw, 106, RED)
    draw.rectangle((48, 100, 192, 140), fill=WHITE)


def give_way(draw: Draw) -> None:
    """Draw a white triangle on its tip, with a red edge."""
    draw.polygon(polygon(3, 118, 180), fill=RED)
    draw.polygon(polygon(3, 72, 180), fill=WHITE)


def limit(draw: Draw) -> None:
    """Draw a white disc with a red edge and two black digits, whose shapes are rings."""
    disc(draw, 114, RED)
    disc(draw, 86, WHITE)
    draw.ellipse((58, 78, 116, 162), outline=BLACK, width=15)
    draw.ellipse((124, 78, 182, 162), outline=BLACK, width=15)


def parking(draw: Draw) -> None:
    """Draw a blue square with a white letter P."""
    draw.rectangle((14, 14, 226, 226), fill=WHITE)
    draw.rectangle((22, 22, 218, 218), fill=BLUE)
    draw.rectangle((84, 52, 108, 188), fill=WHITE)
    draw.ellipse((84, 52, 164, 128), outline=WHITE, width=22)


def roundabout(draw: Draw) -> None:
    """Draw a blue disc with three white arcs."""
    disc(draw, 114, WHITE)
    disc(draw, 106, BLUE)
    for start in (0, 120, 240):
        draw.arc((62, 62, 178, 178), start, start + 80, fill=WHITE, width=20)


SIGNS: dict[str, Callable[[Draw], None]] = {
    "give-way": give_way,
    "limit": limit,
    "no-entry": no_entry,
    "parking": parking,
    "roundabout": roundabout,
    "stop": stop,
}


def photograph(name: str, rng: random.Random) -> Image.Image:
    """Return a picture of the sign `name`; the distance decides how hard it is to read."""
    short, ratio = rng.randint(100, 300), rng.uniform(1, 4 / 3)
    width, height = (short, round(short * ratio)) if rng.random() < 0.5 else (round(short * ratio), short)
    distance = rng.random() ** 1.5  # near pictures are more frequent
    picture = background(width, height, rng)
    sign = Image.new("RGBA", (SIDE, SIDE))
    SIGNS[name](ImageDraw.Draw(sign))
    sign = sign.rotate(rng.gauss(0, 6 + 10 * distance), Image.Resampling.BICUBIC, expand=True)
    side = round(short * (0.85 - 0.6 * distance))
    sign = sign.resize((round(side * rng.uniform(0.7, 1.0)), side), Image.Resampling.LANCZOS)
    left, top = (width - short) // 2, (height - short) // 2  # of the square in the middle, where the sign is
    place = (left + rng.randint(0, short - sign.width), top + rng.randint(0, short - sign.height))
    picture.paste(sign, place, sign)
    if rng.random() < 0.6 * distance:
        hide(picture, place, side, rng)
    return weather(picture, distance, rng)


def background(width: int, height: int, rng: random.Random) -> Image.Image:
    """Return a street: sky above, ground below, and boxes in the colours of houses, cars and other signs."""
    sky, ground = rng.randint(120, 230), rng.randint(50, 120)
    picture = Image.new("RGB", (width, height), (sky - 20, sky, min(255, sky + 20)))
    draw = ImageDraw.Draw(picture)
    horizon = round(height * rng.uniform(0.4, 0.8))
    draw.rectangle((0, horizon, width, height), fill=(ground, ground, ground - 10))
    for _ in range(rng.randint(3, 10)):
        left, top = rng.randint(-40, width), rng.randint(0, height)
        size = rng.randint(10, max(12, width // 3)), rng.randint(10, max(12, height // 3))
        colour = rng.choice([RED, BLUE, YELLOW, WHITE, BLACK, (120, 90, 70), (70, 110, 60)])
        shade = tuple(max(0, min(255, c + rng.randint(-40, 40))) for c in colour)
        shape = draw.ellipse if rng.random() < 0.3 else draw.rectangle
        shape((left, top, left + size[0], top + size[1]), fill=shade)
    return picture


def hide(picture: Image.Image, place: tuple[int, int], side: int, rng: random.Random) -> None:
    """Draw leaves over a part of the sign."""
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(4, 9)):
        x, y = place[0] + rng.uniform(0, side), place[1] + rng.uniform(0, side)
        r = side * rng.uniform(0.06, 0.16)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(rng.randint(20, 70), rng.randint(70, 130), 30))


def weather(picture: Image.Image, distance: float, rng: random.Random) -> Image.Image:
    """Return the picture with blur, little light and noise, which grow with the distance."""
    short = min(picture.size)
    picture = picture.filter(ImageFilter.GaussianBlur(short / 96 * rng.uniform(0, 0.3 + distance)))
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(1 - 0.6 * distance, 1.15))
    noise = Image.effect_noise(picture.size, 20 + 60 * distance * rng.random()).convert("RGB")
    return Image.blend(picture, noise, 0.05 + 0.2 * distance)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Draw photographs of road signs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=150, help="pictures of each class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in SIGNS:
        (arguments.folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(arguments.count):
            picture = photograph(name, random.Random(f"{arguments.seed} {name} {number}"))
            picture.save(arguments.folder / name / f"{number:04}.jpg", quality=88)
    print(f"{len(SIGNS) * arguments.count} pictures of {len(SIGNS)} classes in {arguments.folder}")


if __name__ == "__main__":
    main()

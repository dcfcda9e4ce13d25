"""The page in a browser: nothing is complained of, and nothing is cut off on a telephone."""

import numpy as np
import pytest

from kseg.classes import Classes
from kseg.training.evaluation import Judged
from kseg.training.report import examine
from kseg.training.report_page import make_page


def _page(count):
    rng = np.random.default_rng(0)
    names = tuple(f"a class with the number {i}" if i % 7 == 0 else f"c{i}" for i in range(count))
    images = []
    for index in range(6):
        truth = np.kron(rng.integers(0, count, (8, 8)), np.ones((16, 16), int)).astype("uint8")
        truth[:9] = 255
        logits = np.eye(count)[truth % count] * 4 + rng.normal(size=(128, 128, count))
        image = rng.integers(0, 256, (128, 128, 3)).astype("uint8")
        images.append(Judged(f"{index}.png", image, truth, logits.astype("float32"), (128, 128)))
    report = examine(images, Classes(names))
    history = [
        {"epoch": epoch, "mean_iou": epoch / 9} | {f"iou {name}": epoch / 10 for name in names}
        for epoch in range(1, 9)
    ]
    facts = [("model", "/a/path/" + "that_has_no_place_to_break" * 3)]
    return make_page(report, "a_long_name_of_a_run_" * 3, facts, history)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("count", [3, 30])
def test_page_fits_and_complains_of_nothing(browser, tmp_path, count, width):
    (tmp_path / "report.html").write_text(_page(count), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 740})
    page, told, asked = context.new_page(), [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter((e) =>"
        " e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML)"
    )
    assert beyond == []
    broken = page.evaluate("[...document.images].filter((i) => !i.naturalWidth).length")
    assert broken == 0 and page.evaluate("document.images.length") == 6 * 4
    # Numbers are not broken into pieces; how many lines a name takes depends on the fonts.
    lines = page.evaluate(
        "() => [...document.querySelectorAll('.wide td:nth-child(n+2)')].map((cell) => {"
        " const text = document.createRange(); text.selectNodeContents(cell);"
        " return new Set([...text.getClientRects()].map((r) => r.top)).size; })"
    )
    assert max(lines) <= 1
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()
    assert told == []
    assert all(url.startswith(("file:", "data:")) for url in asked)

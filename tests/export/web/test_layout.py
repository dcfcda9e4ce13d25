"""How the page looks: pictures of it, nothing cut off, and nothing that shuts a reader out."""

import pytest

from export.web.facts import zoo
from export.web.page import make_page

SIZES = {"phone": (360, 740), "desktop": (1280, 800)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", SIZES)
def test_layout(device, scheme, axe, request, runtime_package, open_page, pictures, tmp_path):
    models = [m for m in zoo() if m.title in ("atrous_fpn_tiny_camvid", "lraspp_camvid")]
    page = make_page(models, tmp_path / "page", runtime=runtime_package("litert"))
    width, height = SIZES[device]
    opened = open_page(
        page,
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2,
        bypass_csp=True,  # for axe's own script
    ).load()
    seen = request.config.cache.mkdir("web-layout")
    _look(opened, axe, seen / f"{device}-{scheme}-empty.png")
    opened.choose(pictures[0])
    opened.page.locator("#legend button").nth(3).click()
    _look(opened, axe, seen / f"{device}-{scheme}.png")
    opened.choose(__file__)
    assert opened.error()
    opened.page.locator("#choose").focus()
    _look(opened, axe, seen / f"{device}-{scheme}-error.png")


def _look(opened, axe, path):
    opened.page.screenshot(path=path, full_page=True)
    beyond = opened.page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter((element) =>"
        " element.getBoundingClientRect().right > innerWidth + 0.5 ||"
        " element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display"
        " !== 'inline' && element.clientWidth > 1).map((element) => element.outerHTML)"
    )
    assert beyond == []
    opened.page.add_script_tag(path=axe)
    found = opened.page.evaluate("() => axe.run()")
    assert [(f["id"], f["nodes"][0]["html"]) for f in found["violations"]] == []
    assert len(found["passes"]) > 15

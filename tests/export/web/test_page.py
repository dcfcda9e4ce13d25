"""What a person meets on the page: pictures, the camera, switches, files, and every error."""

import re

import numpy as np
import pytest
from PIL import Image

from export.web.facts import zoo
from export.web.page import make_page
from kseg.classes import Classes


@pytest.fixture(scope="session")
def model():
    return next(m for m in zoo() if m.title == "atrous_fpn_tiny_camvid")


@pytest.fixture(scope="session")
def page(model, runtime_package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "page"
    return make_page([model], folder, runtime=runtime_package("litert"))


def test_legend_shares_and_saved_files(page, model, open_page, pictures, tmp_path):
    opened = open_page(page).load()
    assert opened.says("#title") == "atrous_fpn_tiny_camvid"
    assert "research only" in opened.says("#licence")
    assert opened.choose(pictures[1]) == ""
    label_map, name = opened.saved("#save-labels")
    assert (label_map.mode, label_map.size, name) == ("P", (700, 613), "1.labels.png")
    assert label_map.getpalette()[: 3 * 11] == model.classes.palette()[: 3 * 11]
    labels = np.asarray(label_map)
    names = opened.page.locator("#legend .name").all_text_contents()
    assert names == list(model.classes.names)
    shares = opened.page.locator("#legend .share").all_text_contents()
    for class_id, share in enumerate(shares):
        exact = 100 * np.mean(labels == class_id)
        assert abs(float(share.removesuffix(" %")) - exact) <= 0.5
    assert opened.says("#network-ms").endswith(" ms")

    opened.page.locator("#opacity").fill("50")
    assert opened.says("#opacity-value") == "50 %"
    largest = int(np.bincount(labels.ravel()).argmax())
    toggle = opened.page.locator("#legend button").nth(largest)
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "false"
    saved, name = opened.saved("#save-overlay")
    assert name == "1.overlay.png"
    image = np.asarray(Image.open(pictures[1]).convert("RGB"), "float32")
    colors = np.array(model.classes.colors, "float32")[labels]
    shown = (labels != largest)[..., None]
    expected = np.where(shown, (image + colors) / 2, image)
    assert np.abs(np.asarray(saved.convert("RGB"), "float32") - expected).max() <= 2
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "true"


def test_dropped_pictures(page, open_page, draw):
    opened = open_page(page).load()
    draw(0, (20, 30)).save(page / "dropped.png")
    opened.page.evaluate(
        "async () => { const bytes = await (await fetch('dropped.png')).blob();"
        "  const given = new DataTransfer();"
        "  given.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));"
        "  const event = new DragEvent('drop', { dataTransfer: given, bubbles: true });"
        "  document.body.dispatchEvent(event); }"
    )
    assert opened.labelled() == ""
    assert opened.labels().shape == (20, 30)


def test_keyboard_reaches_everything(page, model, open_page, pictures):
    opened = open_page(page).load()
    opened.choose(pictures[2])
    opened.page.locator("#title").click()
    reached = []
    for _ in range(17):
        opened.page.keyboard.press("Tab")
        focused = opened.page.locator(":focus")
        reached.append(focused.get_attribute("id") or focused.locator(".name").text_content())
    controls = ["choose", "back", "front", "opacity", *model.classes.names]
    assert reached == [*controls, "save-overlay", "save-labels"], reached
    opened.page.locator("#legend button").first.focus()
    opened.page.keyboard.press("Space")
    assert opened.page.locator("#legend button").first.get_attribute("aria-pressed") == "false"


def test_camera(page, open_page):
    opened = open_page(page).load()
    tracks = "() => document.getElementById('video').srcObject?.getTracks().length ?? 0"
    assert opened.page.evaluate(tracks) == 0  # asked for only when pressed
    opened.page.click("#back")
    opened.page.locator("#fps", has_text=".").wait_for()
    assert float(opened.says("#fps")) > 0
    assert opened.says("#status") == "The camera is on."
    opened.page.click("#front")
    opened.page.locator("#fps", has_text=".").wait_for()
    assert "scaleX(-1)" in opened.page.locator("#image").get_attribute("style")
    assert opened.page.evaluate(tracks) == 1
    opened.page.click("#stop")
    assert opened.page.evaluate(tracks) == 0
    assert not opened.page.locator("#stop").is_visible()
    labels, name = opened.saved("#save-labels")
    assert name == "camera.labels.png"
    assert len(np.unique(np.asarray(labels))) > 1


def test_a_picture_ends_the_camera(page, open_page, pictures):
    opened = open_page(page).load()
    opened.page.click("#back")
    opened.page.locator("#fps", has_text=".").wait_for()
    assert opened.choose(pictures[2]) == ""
    assert opened.labels().shape == (150, 61)
    assert not opened.page.locator("#stop").is_visible()
    opened.page.wait_for_timeout(500)  # no late answer of the camera
    assert opened.labels().shape == (150, 61)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', "
         "'NotAllowedError') }", "The camera was refused; allow it"),
        ("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', "
         "'NotFoundError') }", "No camera was found on this device."),
        ("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', "
         "'NotReadableError') }", "The camera is in use by another program"),
        ("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })",
         "The camera needs a page from https"),
    ],
)  # fmt: skip
def test_cameras_that_cannot_be_had(page, open_page, script, sentence):
    opened = open_page(page)
    opened.page.add_init_script(script)
    opened.load()
    opened.page.click("#back")
    opened.page.locator("#error:visible").wait_for()
    assert opened.error().startswith(sentence)


def test_a_camera_that_is_taken_away(page, open_page):
    opened = open_page(page).load()
    opened.page.click("#back")
    opened.page.locator("#fps", has_text=".").wait_for()
    opened.page.evaluate(
        "() => document.getElementById('video').srcObject.getTracks()[0]"
        ".dispatchEvent(new Event('ended'))"
    )
    assert opened.error().startswith("The camera was switched off or taken away")


def test_files_that_are_no_pictures(page, open_page, pictures, tmp_path):
    opened = open_page(page).load()
    text, cut, large = (tmp_path / name for name in ("notes.txt", "cut.png", "large.png"))
    text.write_text("no picture")
    cut.write_bytes(pictures[0].read_bytes()[:40])
    Image.new("1", (10_000, 5_000)).save(large)
    Image.new("I;16", (8, 8)).save(tmp_path / "deep.png")
    assert opened.choose(text) == "“notes.txt” is no picture that this browser reads."
    assert opened.choose(cut) == "“cut.png” is no picture that this browser reads."
    assert opened.choose(large) == (
        "“large.png” has 50.0 megapixels; this page takes up to 25. Make it smaller first."
    )
    assert opened.choose(tmp_path / "deep.png") == (
        "“deep.png” has 16 bits a channel, which browsers cut to 8; save it with 8 first."
    )
    assert opened.choose(pictures[2]) == ""  # and goes on
    assert not opened.page.locator("#error").is_visible()


@pytest.mark.parametrize("file", ["*.wasm", "dist/index.js", "*.tflite", "worker.js"])
def test_a_lost_network_and_another_try(page, open_page, file):
    opened = open_page(page)
    opened.page.context.route(f"**/{file}", lambda route: route.abort())
    opened.page.goto(opened.address)
    sentence = opened.ready()
    assert re.fullmatch(
        r"The (runtime|model) could not be loaded from 127\.0\.0\.1:\d+; look at the network, then "
        r"try again\.|worker\.js stopped \(it could not be loaded\); try again\.",
        sentence,
    )
    assert opened.says("#status") == ""
    opened.page.context.unroute_all()
    opened.page.click("#retry")
    opened.page.locator("#choose:enabled").wait_for()
    assert not opened.page.locator("#error").is_visible()
    opened.errors.clear()  # the browser's own


@pytest.mark.parametrize("runtime", ["litert", "mediapipe"])
def test_the_cdn(runtime, model, runtime_package, open_page, pictures, tmp_path):
    package = runtime_package(runtime)
    opened = open_page(make_page([model], tmp_path / "page", runtime=runtime))
    asked = []

    def answer(route):
        url = route.request.url
        asked.append(url)
        path = package / url.partition("@")[2].partition("@")[2].partition("/")[2]
        route.fulfill(path=path, headers={"access-control-allow-origin": "*"})

    opened.page.context.route("https://cdn.jsdelivr.net/npm/**", answer)
    opened.load()
    assert opened.choose(pictures[2]) == ""
    assert all("@2.5.3/" in url or "@1.1.0/" in url for url in asked) and asked
    assert all(url.startswith("https://cdn.jsdelivr.net/npm/@") for url in opened.foreign)
    opened.foreign.clear()


def test_names_are_text(model, runtime_package, open_page, pictures, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    classes = Classes((evil, *model.classes.names[1:]))
    file = tmp_path / "a&b <i>.tflite"
    file.write_bytes(model.path.read_bytes())
    named = type(model)(file, classes, model.working_size, evil, evil)
    opened = open_page(make_page([named], tmp_path / "page", runtime=runtime_package("litert")))
    opened.load()
    assert opened.choose(pictures[2]) == ""
    assert opened.says("#title") == evil
    assert opened.page.locator("#legend .name").first.text_content() == evil
    assert opened.page.locator("img").count() == 0

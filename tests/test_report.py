"""report.html in a real browser: filter, order, keys, two methods, names, contrast; and what is written into it."""

import csv
import json
import os
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image

import experiments
import reproduce
from src import data, files, metrics
from src.postprocessing import masks
from src.report import page, pictures

HOSTILE = "<script>document.title='hacked'<script>"
WORDS = {"lead": "x < y & z", "choice": "6 of 6", "certainty": "known", "map": "their share"}


@pytest.fixture
def written(settings, tmp_path):
    """A page of 8 photos of two classes, one of a hostile name, with truths and two methods; and its cards."""
    rng = np.random.default_rng(0)
    root = settings.data_root = tmp_path / "photos"
    for i in range(8):
        kind = HOSTILE if i % 2 else "mugs"
        truth = np.zeros((60, 80), np.uint8)
        truth[20:50, 20:60] = 1
        values = np.where(truth[..., None], (220, 120, 60), rng.integers(0, 120, (60, 80, 3))).astype(np.uint8)
        mask = truth.copy()
        mask[20 : 20 + 3 * i] = 0  # the higher the number, the worse
        mask[0:4] = masks.IGNORE
        (root / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / kind / f"{i} & <b>.png")
        for folder, labels in ((root / "masks", truth), (tmp_path / "a", truth), (tmp_path / "b", mask)):
            masks.save(folder / kind / f"{i} & <b>.png", labels)
    photos = data.load(settings)
    index = np.concatenate([photos.test, photos.trainval])
    cards = page.cards(photos, index, [tmp_path / "a", tmp_path / "b"], np.linspace(0.9, 0.1, 8))
    run = tmp_path / "runs" / "train_it" / "seed0"
    (run / "round1").mkdir(parents=True)
    with (run / "round1" / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("epoch", "loss", "seconds"), (1, 0.5, 1), (2, 0.25, 2)])
    sections = [("Tables", f"Words.\n\n| {HOSTILE} | IoU |\n| --- | --- |\n| **CAM** | 51.2 ± 0.1 |\n"), ("None", "")]
    page.write(tmp_path / "report.html", HOSTILE, cards, ["perfect", "cut"], WORDS, sections, page.curves([run]))
    return tmp_path / "report.html", cards


@pytest.fixture
def browser():
    """Function: Debian's chromium with a page open, at a width and in a colour scheme."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver on the PATH: apt-get install chromium chromium-driver")
    opened = []

    def start(path, width=1400, scheme="light"):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        window = webdriver.Chrome(options, webdriver.ChromeService(driver))
        opened.append(window)
        how = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", how)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        window.get(path.as_uri())
        return window

    yield start
    for window in opened:
        window.quit()


def shown(window):
    return window.execute_script("return [...document.querySelectorAll('#photos .caption')].map(p => p.innerText)")


def choose(window, name, text):
    from selenium.webdriver.support.ui import Select

    Select(window.find_element("id", name)).select_by_visible_text(text)


def press(window, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(window).send_keys(*keys).perform()


def test_filter_order_keys_and_two_methods(written, browser):
    path, cards = written
    window = browser(path)
    assert window.title == HOSTILE and len(shown(window)) == 8
    assert [int(text.split("/")[1][0]) for text in shown(window)] == list(range(7, -1, -1))  # the worst first
    choose(window, "order", "certainty, most first")
    assert [text.split("/")[1][0] for text in shown(window)] == [card["name"].split("/")[1][0] for card in cards]
    choose(window, "kind", HOSTILE)
    assert len(shown(window)) == 4 and window.find_element("id", "status").text == "4 photos"
    assert all(text.startswith(HOSTILE) for text in shown(window))
    choose(window, "beside", "perfect")
    assert all("| 100" in text for text in shown(window))
    frame = window.find_element("css selector", ".frame")
    assert [title.text for title in frame.find_elements("css selector", ".pane b")] == ["cut", "perfect"]
    press(window, "3")  # no choice of the select begins with it
    assert ": mask," in frame.get_attribute("aria-label") and window.find_element("id", "status").text.endswith("mask")
    choose(window, "beside", "nothing")
    window.find_element("id", "gallery").click()
    seen = {}
    for key, view in enumerate(("photo", "map", "mask", "overlay", "truth"), 1):
        press(window, str(key))
        frame = window.find_element("css selector", ".frame")
        assert f": {view}," in frame.get_attribute("aria-label")
        assert window.find_element("css selector", "[aria-pressed=true]").get_attribute("data-layer") == view
        seen[view] = frame.screenshot_as_png
    assert len(set(seen.values())) == 5  # what is drawn differs, too
    frame.click()
    assert ": photo," in frame.get_attribute("aria-label")
    assert not window.get_log("browser")


def test_the_keyboard_reaches_everything(written, browser):
    from selenium.webdriver.common.keys import Keys

    window, order = browser(written[0]), []
    for _ in range(40):
        press(window, Keys.TAB)
        here = window.switch_to.active_element
        if here.tag_name == "body":
            break
        order.append(here.get_attribute("id") or here.get_attribute("data-layer") or here.get_attribute("class"))
    wanted = ["kind", "order", "method", "beside", "keys", "photo", "map", "mask", "overlay", "truth", "frame"]
    assert order[0] == "skip" and [name for name in order if name in wanted] == wanted
    frames = window.find_elements("css selector", ".frame")
    window.execute_script("arguments[0].focus()", frames[0])
    for key, place in ((Keys.ARROW_RIGHT, 1), (Keys.ARROW_LEFT, 0), (Keys.END, 7), (Keys.HOME, 0)):
        press(window, key)
        assert window.switch_to.active_element == frames[place]
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert window.execute_script(outline) == "solid"
    press(window, Keys.ENTER)
    assert ": truth," in frames[0].get_attribute("aria-label")
    window.find_element("id", "keys").click()
    press(window, "1")
    assert ": truth," in frames[0].get_attribute("aria-label")  # the keys are switched off


CHECK = """
const lightness = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = e => { const c = getComputedStyle(e).backgroundColor;
    return /, 0\\)$/.test(c) ? (e.parentElement ? behind(e.parentElement) : "rgb(255, 255, 255)") : c; };
const texts = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
const contrasts = texts.map(e => { const [a, b] = [lightness(getComputedStyle(e).color), lightness(behind(e))].sort();
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; });
return { contrast: contrasts.sort((a, b) => a[0] - b[0])[0], wide: document.documentElement.scrollWidth,
    nameless: [...document.querySelectorAll("button, select, input, svg, [role=region]")].filter(e =>
        !(e.getAttribute("aria-label") || e.innerText?.trim() && e.tagName === "BUTTON" || e.labels?.length)).length,
    without_alt: document.querySelectorAll("img:not([alt])").length,
    small: [...document.querySelectorAll("button, select")].filter(e => e.offsetHeight < 24).length };
"""


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_contrast_and_width(written, browser, tmp_path, width, scheme):
    window = browser(written[0], width, scheme)
    found = window.execute_script(CHECK)
    assert found["contrast"][0] >= 4.5, found["contrast"]
    assert found["wide"] <= width
    assert found["nameless"] == found["without_alt"] == found["small"] == 0
    window.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as image:
        corner = sum(image.convert("RGB").getpixel((2, 2)))
    assert corner > 600 if scheme == "light" else corner < 150
    assert not window.get_log("browser")


def test_the_file_stands_alone_and_escapes_names(written):
    path, cards = written
    text = path.read_text(encoding="utf-8")
    assert HOSTILE not in text and "&lt;script&gt;document" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text) and "http" not in text.replace("http-equiv", "")
    assert "<b>CAM</b>" in text and "train_it round1" in text and 'points="0.0,0.0 100.0,40.0"' in text
    assert not list(path.parent.glob("*.part"))
    for card in cards:
        i = int(card["name"].split("/")[1][0])
        assert card["iou"] == [100, pytest.approx(100 * (30 - min(3 * i, 30)) / 30, abs=0.1)]
        assert len(card["masks"][1]) < 1000 and card["kind"] in ("mugs", HOSTILE)


def test_the_page_of_all_experiments(settings, monkeypatch):
    """With masks that say something else for each method: the truth, cut a little more each time."""
    photos = data.load(settings)
    monkeypatch.setattr(reproduce, "ROWS", 1)
    names = {name for _, name, _ in experiments.GALLERY}
    chain = [e for e in experiments.chain() if e.name in names]
    folders = [*(column[1:] for column in experiments.GALLERY), ("train_on_ensemble", "masks_crf")]
    for k, (name, folder) in enumerate(folders):
        run = settings.runs_root / name / "seed0"
        for i in photos.test:
            labels = masks.ground_truth(photos, i)
            labels[: k + 1] = 0
            masks.save(run / folder / f"{photos.names[i]}.png", labels)
        scores = dict.fromkeys(("pet_iou", "pet_dice", "pet_iou_border_ignored", "dataset_iou", "miou"), 0.5)
        scored = {"test": {**scores, "pet_iou_ci95": [0.4, 0.6]}}
        files.write_json(run / "config.json", {"settings": {}, "constants": {}, "photos": {}})
        files.write_json(run / "summary.json", {"stage": name, "seconds": 2, "peak_memory_mb": 3, "metrics": scored})
    reproduce.say_tables(settings, photos, chain, 1.0)
    text = (settings.runs_root / "report.html").read_text(encoding="utf-8")
    assert re.search(r">CAM, Pretrained</th>\s*<td>26.03\*</td>\s*<td>50.0</td>\s*<td></td>", text)  # another metric
    assert re.search(r"CCAM, Pretrained</th>\s*<td>68.21</td>\s*<td>50.0</td>\s*<td>-18.2</td>", text)
    found = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert found["methods"] == [column[0] for column in experiments.GALLERY]
    assert len(found["cards"]) == len(photos.test)
    card, i = found["cards"][0], photos.test[0]
    mask = masks.read(settings.runs_root / "train_on_ensemble" / "seed0" / "masks_final" / f"{photos.names[i]}.png")
    iou = metrics.per_photo_iou(metrics.confusion(mask == 1, masks.read_trimap(photos, i))[None])[0]
    assert card["iou"][-1] == pytest.approx(100 * iou, abs=0.1) and 0 < card["sure"] <= 100


def test_300_real_photos_with_nine_masks_stay_under_25_mb(pets_root, settings, tmp_path):
    settings.data_root = pets_root
    photos = data.load(settings, pixels=False)
    index = pictures.spread(np.concatenate([photos.test, photos.trainval]), page.MOST)
    for i in index:
        masks.save(tmp_path / "masks" / f"{photos.names[i]}.png", masks.ground_truth(photos, i))
    start = time.process_time()
    cards = page.cards(photos, index, [tmp_path / "masks"] * 9, np.ones(len(index)))
    page.write(tmp_path / "report.html", "real", cards, list("abcdefghi"), WORDS)
    assert os.path.getsize(tmp_path / "report.html") < 25e6 and time.process_time() - start < 60

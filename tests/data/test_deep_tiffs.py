"""16-bit TIFFs in colour, and of many channels, which Pillow cannot read as they are."""

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from kseg.data import load_data
from kseg.training.images import largest_of


@pytest.mark.parametrize("channels", [3, 5])
def test_all_images_are_scaled_alike(tmp_path, channels):
    for folder in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / folder / kind).mkdir(parents=True)
        for number, brightest in enumerate((1000, 4000)):
            pixels = np.full((40, 48, channels), 900, "uint16")
            pixels[0, 0] = brightest
            kind = "rgb" if channels == 3 else "minisblack"
            path = tmp_path / folder / "images" / f"{number}.tif"
            tifffile.imwrite(path, pixels, photometric=kind, planarconfig="contig")
            labels = np.repeat(np.uint8([[0], [1]]), 20, 0).repeat(48, 1)
            Image.fromarray(labels).save(tmp_path / folder / "labels" / f"{number}.png")
    content = {"names": ["a", "b"], "channels": channels}
    for folder in ("train", "val"):
        content[folder] = {"images": f"{folder}/images", "labels": f"{folder}/labels"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    with pytest.warns(UserWarning, match="16-bit images use 12 bits, so white is 4095"):
        data = load_data(tmp_path / "data.yaml")
    assert data.bits == 12
    for pair in (*data.files("train"), *data.files("val")):
        assert data.read(pair)[0][20, 20].tolist() == [round(900 * 255 / 4095)] * channels
    assert largest_of(data, None) == (40, 48)

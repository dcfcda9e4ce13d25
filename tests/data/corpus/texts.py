"""List files and YAML files."""

import unicodedata

from corpus.base import (
    IDS,
    NAMES,
    PICTURE,
    TWO,
    Case,
    save,
)


def lists():
    """List files."""
    line = "images/0.png labels/0.png\n"
    texts = {
        "list with a byte order mark": b"\xef\xbb\xbf" + line.encode(),
        "list in UTF-16": line.encode("utf-16"),
        "list with CRLF": b"images/0.png labels/0.png\r\n\r\n",
        "list with backslashes": rb"images\0.png labels\0.png",
        "list with commas": b"images/0.png,labels/0.png\n",
        "list with comma and space": b"images/0.png, labels/0.png\n",
        "list with quotes": b'"images/0.png" "labels/0.png"\n',
        "list with a tab": b"images/0.png\tlabels/0.png\n",
        "list with a comment": b"# image label\n" + line.encode(),
    }
    for title, text in texts.items():
        yield Case(title, lists=text, expect=IDS, picture=PICTURE)
    yield Case(
        "list with spaces in names",
        lists=b"images/my image.png labels/0.png",
        image_name="my image.png",
        expect=IDS,
    )
    yield Case(
        "list with commas in names",
        lists=b"images/a,b.png labels/0.png",
        image_name="a,b.png",
        expect=IDS,
    )
    yield Case(
        "list with accents as NFC, files as NFD",
        lists="images/é.png labels/0.png".encode(),
        image_name=unicodedata.normalize("NFD", "é.png"),
        expect=IDS,
    )
    yield Case(
        "list with accents as NFD, files as NFC",
        lists=unicodedata.normalize("NFD", "images/é.png labels/0.png").encode(),
        image_name=unicodedata.normalize("NFC", "é.png"),
        expect=IDS,
    )
    yield Case(
        "names that are not UTF-8",
        lists=b"images/caf\xe9.png labels/0.png",
        image_name="caf\udce9.png",
        expect=IDS,
    )
    yield Case(
        "list that is another file",
        lists=b"root:x:0:0:root:/root:/bin/sh\n",
        refused="line 1 must be `image label`, two image files",
    )
    yield Case("list that is an image", lists=save(IDS), refused="is no list of images")
    yield Case(
        "list with three paths", lists=b"a.png b.png c.png", refused="line 1 must be `image label`"
    )


def yamls():
    """The YAML file."""
    yield Case("`names: [no, yes]`", save(TWO), "names: [no, yes]\n", expect=TWO)
    yield Case("`names: [1, 2.0, on]`", yaml="names: [1, 2.0, on]\n", expect=IDS)
    yield Case(
        "`names: {ground: 0, red: 1}`",
        yaml="names: {ground: 0, red: 1}\n",
        refused="write `names: {0: ground, 1: red}`",
    )
    yield Case("a misspelt key", yaml=NAMES + "color: []\n", refused="Did you mean 'colors'?")
    yield Case(
        "a key that comes twice", yaml=NAMES + NAMES, refused="has the key 'names' a second time"
    )
    yield Case("an alias", yaml="names: &a [ground, red]\nignore: *a\n", refused="has an alias (*)")
    yield Case("a tag", yaml=NAMES + "ignore: !!python/name:os.system\n", refused="has a tag (!)")
    yield Case("nested 20,000 deep", yaml=NAMES + "ignore: " + "[" * 20000, refused="is not YAML: ")
    yield Case(
        "nested 30 deep",
        yaml=NAMES + "ignore: " + "[" * 30 + "]" * 30 + "\n",
        refused="nested deeper than 20 levels",
    )

"""Checks the metadata of a macOS wheel, and extracts the module.

    wheel.py WHEEL FOLDER    puts the module into FOLDER and prints its path
"""

import base64
import csv
import hashlib
import io
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

TAG = "cp39-abi3-macosx_11_0_arm64"
MODULE = "warmheap/_native.abi3.so"
PACKAGE = Path(__file__).parents[2] / "crates/warmheap-python/python/warmheap"

path = Path(sys.argv[1])
name, version, tag = path.stem.split("-", 2)
assert (name, tag) == ("warmheap", TAG), path.name
with zipfile.ZipFile(path) as wheel:
    def read(file):
        return wheel.read(f"{name}-{version}.dist-info/{file}").decode()

    said = HeaderParser().parsestr(read("WHEEL"))
    assert (said["Tag"], said["Root-Is-Purelib"]) == (TAG, "false"), said.items()
    said = HeaderParser().parsestr(read("METADATA"))
    expected = {
        "Name": name,
        "Version": version,
        "Requires-Python": ">=3.9",
        "License": "MIT OR Apache-2.0",
        "Summary": "Pooled GPU memory for inference engines",
    }
    assert expected.items() <= dict(said.items()).items(), said.items()
    assert "Operating System :: MacOS" in said.get_all("Classifier")
    assert said.get_payload().startswith("# Warmheap from Python")

    listed = {file: digest for file, digest, _ in csv.reader(io.StringIO(read("RECORD")))}
    assert listed.keys() == set(wheel.namelist()), listed
    for file, digest in listed.items():
        if digest:
            made = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(file)).digest()).rstrip(b"=").decode()
            assert digest == f"sha256={made}", file
    packed = {file for file in listed if file.startswith("warmheap/")}
    expected = {f"warmheap/{file.name}" for file in PACKAGE.iterdir() if file.suffix in {".py", ".pyi", ".typed"}}
    assert packed == expected | {MODULE}, packed ^ (expected | {MODULE})
    print(wheel.extract(MODULE, sys.argv[2]))

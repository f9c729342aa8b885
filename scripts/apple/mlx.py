"""Checks that MLX's library for Macs has what crates/warmheap-mlx relies on: two functions by name, and the entries of
its allocator's virtual table in their order.

    mlx.py FOLDER    downloads the newest known wheel into FOLDER and reads the library in it
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import lief

VERSIONS = "mlx-metal>=0.31,<0.33"
FUNCTIONS = {"__ZN3mlx4core9allocator9allocatorEv", "__ZN3mlx4core9allocator6Buffer7raw_ptrEv"}
CLASS = "3mlx4core5metal14MetalAllocator"
BUFFER = "NS0_9allocator6BufferE"
TABLE = [
    f"__ZTIN{CLASS}E",
    f"__ZN{CLASS}6mallocEm",
    f"__ZN{CLASS}4freeE{BUFFER}",
    f"__ZNK{CLASS}4sizeE{BUFFER}",
    f"__ZN{CLASS}11make_bufferEPvm",
    f"__ZN{CLASS}7releaseE{BUFFER}",
    f"__ZN{CLASS}D1Ev",
    f"__ZN{CLASS}D0Ev",
]

folder = Path(sys.argv[1])
pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
options = ["--platform", "macosx_14_0_arm64", "--only-binary", ":all:", "--dest", str(folder)]
subprocess.run([*pip, *options, VERSIONS], check=True)
wheel = max(folder.glob("mlx_metal-*.whl"))
library = zipfile.ZipFile(wheel).extract("mlx/lib/libmlx.dylib", folder)

binary = lief.MachO.parse(library).take(lief.MachO.Header.CPU_TYPE.ARM64)
exported = {symbol.name for symbol in binary.exported_symbols}
assert FUNCTIONS <= exported, FUNCTIONS - exported
places = {symbol.name: symbol.value for symbol in binary.symbols if symbol.value}
names = {value: name for name, value in places.items()}
targets = {fixup.address: getattr(fixup, "target", None) for fixup in binary.relocations}
table = places[f"__ZTVN{CLASS}E"]
# The first word is the offset to the top, which is 0 and so no address.
found = [names.get(targets.get(table + 8 * entry)) for entry in range(1, 1 + len(TABLE))]
# A destructor of the object may be one function under two names.
assert found == TABLE or found[:-2] == TABLE[:-2] and None not in found, found
print(f"{wheel.name} has the functions and the virtual table that are expected")

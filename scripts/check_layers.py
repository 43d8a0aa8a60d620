#!/usr/bin/env python3
"""Checks that every #include follows cmake/layers.txt: who may include whom.

    scripts/check_layers.py [--help]
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
# Public headers by the module that implements them.
PUBLIC = {"pan/tokenizer.h": "tokenizer", "pan/task.h": "tasks"}


def read_layers():
    layers = {}
    for line in (ROOT / "cmake/layers.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, allowed = line.partition(":")
            layers[name.strip()] = set(allowed.split())
    return layers


def main():
    if "--help" in sys.argv or "-h" in sys.argv:
        print(__doc__.strip())
        return 0
    layers = read_layers()
    faults = []
    sources = [(p, p.relative_to(ROOT / "src").parts[0]) for p in (ROOT / "src").rglob("*") if p.suffix in (".h", ".cpp")]
    sources += [(p, "kernels") for p in (ROOT / "kernels").rglob("*") if p.suffix in (".h", ".cpp", ".cu", ".cuh")]
    for path, module in sources:
        if module not in layers:
            faults.append(f"{path.relative_to(ROOT)}: module '{module}' is not in cmake/layers.txt")
            continue
        for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            target = PUBLIC.get(included, included.split("/")[0])
            if target == module or "/" not in included or target in layers[module]:
                continue
            if module == "config" and included.endswith("_config.h"):
                continue
            if module == "kernels" and path.parent.name == "device":
                faults.append(f"{path.relative_to(ROOT)}: device code includes {included}, outside its folder")
                continue
            faults.append(f"{path.relative_to(ROOT)}: {module} may not include {included}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"layers: {len(sources)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Generates gen/ from the contracts: Python messages, stubs, types, Envoy's descriptor set, OpenAPI.

Run as `make gen`. Everything is written anew, so that running it twice changes nothing.
"""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess
import sys
from pathlib import Path

from google.rpc import status_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GEN = ROOT / "gen"
GOOGLEAPIS = ROOT / "build" / "googleapis"

# Envoy can show an error's details in JSON only if their types are in its descriptor set.
DETAILS = ["google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/httpbody.proto"]


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        generate(GEN)


def generate(target: Path) -> None:
    """Writes everything into `target` anew."""
    fill_googleapis()
    shutil.rmtree(target / "lakehouse", ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    generate_python(target)
    generate_descriptor(target)
    generate_openapi(target)


def check() -> None:
    """Fails when gen/ is not what the contracts say."""
    fresh = ROOT / "build" / "gen"
    shutil.rmtree(fresh, ignore_errors=True)
    generate(fresh)
    differing = sorted(different_files(fresh, GEN))
    if differing:
        sys.exit("gen/ is out of date, run 'make gen': " + ", ".join(differing))


def different_files(left: Path, right: Path) -> set[str]:
    """Relative paths of files that are in one tree only, or differ."""
    contents = [
        {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if is_generated(path)}
        for tree in (left, right)
    ]
    return {name for name in contents[0].keys() | contents[1].keys() if contents[0].get(name) != contents[1].get(name)}


def is_generated(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def fill_googleapis() -> None:
    """Copies google/api and google/rpc contracts out of the installed package, for buf and protoc."""
    installed = Path(status_pb2.__file__).parent.parent
    for folder in ("api", "rpc"):
        target = GOOGLEAPIS / "google" / folder
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for source in sorted((installed / folder).glob("*.proto")):
            shutil.copy(source, target / source.name)


def contracts() -> list[str]:
    return [str(path.relative_to(PROTO)) for path in sorted(PROTO.rglob("*.proto"))]


def protoc(*arguments: str) -> None:
    bundled = importlib.resources.files("grpc_tools") / "_proto"
    plugins = [
        f"--plugin={name}={Path(sys.executable).parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    paths = [f"-I{PROTO}", f"-I{GOOGLEAPIS}", f"-I{bundled}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *plugins, *paths, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)


def generate_python(target: Path) -> None:
    outputs = [f"--python_out={target}", f"--grpc_python_out={target}", f"--mypy_out={target}"]
    outputs.append(f"--mypy_grpc_out=only_async,generate_concrete_servicer_stubs:{target}")
    protoc(*outputs, *contracts())
    for folder in [target / "lakehouse", *(target / "lakehouse").rglob("*/")]:
        (folder / "__init__.py").touch()


def generate_descriptor(target: Path) -> None:
    protoc("--include_imports", f"--descriptor_set_out={target / 'descriptor.binpb'}", *contracts(), *DETAILS)


def generate_openapi(target: Path) -> None:
    subprocess.run([sys.executable, "-m", "gateway.openapi", str(target / "openapi.yaml")], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()

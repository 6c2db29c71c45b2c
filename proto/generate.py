"""Generates gen/ from the contracts: Python messages, stubs, types, Envoy's descriptor set, OpenAPI.

Run as `make gen`. Everything is written anew, so that running it twice changes nothing.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GEN = ROOT / "gen"
GOOGLEAPIS = ROOT / "build" / "googleapis"

# Envoy can show an error's details in JSON only if their types are in its descriptor set.
DETAILS = ["google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/httpbody.proto"]


def main() -> None:
    fill_googleapis()
    shutil.rmtree(GEN / "lakehouse", ignore_errors=True)
    GEN.mkdir(exist_ok=True)
    generate_python()
    generate_descriptor()
    generate_openapi()


def fill_googleapis() -> None:
    """Copies google/api and google/rpc contracts out of the installed package, for buf and protoc."""
    installed = Path(importlib.util.find_spec("google.rpc.status_pb2").origin).parent.parent
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


def generate_python() -> None:
    outputs = [f"--python_out={GEN}", f"--grpc_python_out={GEN}", f"--mypy_out={GEN}"]
    protoc(*outputs, f"--mypy_grpc_out=only_async,generate_concrete_servicer_stubs:{GEN}", *contracts())
    for folder in [GEN / "lakehouse", *(GEN / "lakehouse").rglob("*/")]:
        (folder / "__init__.py").touch()


def generate_descriptor() -> None:
    target = GEN / "descriptor.binpb"
    protoc("--include_imports", f"--descriptor_set_out={target}", *contracts(), *DETAILS)


def generate_openapi() -> None:
    generator = ROOT / "gateway" / "openapi.py"
    if generator.exists():
        subprocess.run([sys.executable, "-m", "gateway.openapi"], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()

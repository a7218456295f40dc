#!/usr/bin/env python3
"""Prepare the native build inputs that cargo would otherwise take a quarter of an hour to make.

    tools/native/prepare.py [--cache DIR] [--jobs N] [--env-file FILE]

Three things; the first two are kept in a cache outside the clone:

* `librocksdb.a`, from the very sources of the `librocksdb-sys` crate that Cargo.lock names, compiled
  as eight unity files instead of 343 single ones. The template instantiations and headers that every
  RocksDB file repeats are then compiled eight times, not 343 times.
* libclang, which bindgen needs to read RocksDB's C header. The system's is taken where there is one;
  otherwise the PyPI package `libclang` brings it.
* whether librdkafka is built as well, which the variable MILLSTREAM_LIBRDKAFKA=1 asks for, and whether this system has
  OpenSSL to give it TLS and SASL: MILLSTREAM_CARGO_FEATURES says what to hand to cargo's `--features`.

The result is a file of shell exports (`--env-file`, default: standard output). Nothing here is
needed for a build to succeed: without these exports cargo compiles RocksDB itself, with libclang from
the system. The archive is keyed by crate versions, compiler and flags, so a change of any of them builds a new
one beside the old.

Exit status: 0 done (what this machine cannot prepare is left to cargo, with a note), 1 something failed.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

UNITY_FILES = 8

# The codecs must be the ones that the workspace's `rocksdb` features switch on: the archive calls
# them, the `-sys` crates of these names bring the code. crate -> (macro, folder with its headers).
CODECS = {
    "lz4-sys": ("LZ4", "liblz4/lib"),
    "zstd-sys": ("ZSTD", "zstd/lib"),
    "libz-sys": ("ZLIB", "src/zlib"),
    "bzip2-sys": ("BZIP2", "bzip2-*"),
}

DEFINES = [
    "NDEBUG",
    "OS_LINUX",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_RANGESYNC_PRESENT",
    "HAVE_ALIGNED_NEW",
    "HAVE_UINT128_EXTENSION",
    "SNAPPY=1",
]

FLAGS = [
    "-std=c++20",
    "-O2",
    "-w",
    "-fPIC",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-omit-frame-pointer",
    "-include",
    "cstdint",
]


def say(text):
    print(f"native: {text}", file=sys.stderr, flush=True)


def cache_folder():
    if chosen := os.environ.get("MILLSTREAM_CACHE"):
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "millstream"


def crates():
    """Name -> (version, folder) of the native crates, fetched by cargo if they are not here yet."""
    # A source distribution has fewer members than the clone, and so not quite its lock file.
    locked = ["--locked"] if (ROOT / "xtask").is_dir() else []
    # Our own environment may point somewhere stale; metadata does not need it.
    result = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", *locked],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        say("`cargo metadata` failed:\n" + result.stderr.rstrip())
        sys.exit(1)
    wanted = {"librocksdb-sys", *CODECS}
    found = {}
    for package in json.loads(result.stdout)["packages"]:
        if package["name"] in wanted:
            folder = pathlib.Path(package["manifest_path"]).parent
            found[package["name"]] = (package["version"], folder)
    if missing := wanted - found.keys():
        say(f"the workspace no longer uses {', '.join(sorted(missing))}: adapt CODECS in {__file__}")
        sys.exit(1)
    return found


def machine_flags():
    """The instructions RocksDB's checksums want, if this processor has them."""
    if platform.machine() != "x86_64":
        return []
    with open("/proc/cpuinfo") as info:
        line = next((text for text in info if text.startswith("flags")), "")
    have = set(line.split())
    wanted = {"sse4_2": "-msse4.2", "pclmulqdq": "-mpclmul"}
    return [flag for name, flag in wanted.items() if name in have]


def unity_sources(rocksdb):
    """The text of each unity file; `build_version.cc` comes from the crate, already generated."""
    listed = (rocksdb / "rocksdb_lib_sources.txt").read_text().split()
    files = [name for name in listed if name != "util/build_version.cc"]
    step = -(-len(files) // UNITY_FILES)
    for start in range(0, len(files), step):
        yield "".join(f'#include "{name}"\n' for name in files[start : start + step])


def compile_command(compiler, found, flags):
    _, rocksdb = found["librocksdb-sys"]
    command = [*shlex.split(compiler), *flags]
    command += [f"-D{name}" for name in DEFINES]
    includes = [rocksdb / "rocksdb" / "include", rocksdb / "rocksdb", rocksdb / "snappy", rocksdb]
    for crate, (macro, headers) in CODECS.items():
        command.append(f"-D{macro}=1")
        includes += sorted(found[crate][1].glob(headers))
    return command + [f"-I{folder}" for folder in includes]


def build_rocksdb(cache, jobs):
    """Returns the folder that holds `librocksdb.a`, or None where cargo has to compile it."""
    if platform.system() != "Linux":
        say(f"no prepared RocksDB on {platform.system()}: cargo will compile it, which takes long")
        return None
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        say("there is no C++ compiler here (Debian: g++); RocksDB needs one")
        sys.exit(1)
    found = crates()
    flags = FLAGS + machine_flags()
    identity = subprocess.run(
        [*shlex.split(compiler), "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    version = found["librocksdb-sys"][0]
    recipe = [identity, platform.machine(), str(UNITY_FILES), *flags, *DEFINES]
    recipe += [f"{name} {found[name][0]}" for name in sorted(found)]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]
    home = cache / "native" / f"rocksdb-{version}-{key}"
    archive = home / "librocksdb.a"
    if archive.exists():
        return home

    _, source = found["librocksdb-sys"]
    work = pathlib.Path(tempfile.mkdtemp(prefix="building-", dir=cache / "native"))
    try:
        units = []
        for number, text in enumerate(unity_sources(source), 1):
            path = work / f"unity_{number}.cc"
            path.write_text(text)
            units.append(path)
        units.append(source / "build_version.cc")
        command = compile_command(compiler, found, flags)
        say(f"RocksDB {version.partition('+')[2]}: {UNITY_FILES} unity files, {jobs} at a time (a few minutes, once)")
        started = time.monotonic()
        objects = compile_all(command, units, work, jobs)
        subprocess.run(["ar", "crs", work / "librocksdb.a", *objects], check=True)
        (work / "recipe.txt").write_text("\n".join(recipe) + "\n")
        for path in [*objects, *work.glob("unity_*.cc")]:
            path.unlink()
        work.rename(home)
        say(f"RocksDB is ready after {time.monotonic() - started:.0f} s: {archive}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home


def compile_all(command, units, work, jobs):
    def one(unit):
        target = work / (unit.stem + ".o")
        started = time.monotonic()
        result = subprocess.run(
            [*command, "-c", unit, "-o", target], capture_output=True, text=True
        )
        return unit, target, time.monotonic() - started, result

    objects = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(one, unit) for unit in units]
        for done in concurrent.futures.as_completed(waiting):
            unit, target, seconds, result = done.result()
            if result.returncode:
                for other in waiting:
                    other.cancel()
                say(f"{unit.name} does not compile:\n{result.stderr[-4000:]}")
                sys.exit(1)
            objects.append(target)
            say(f"[{len(objects)}/{len(units)}] {unit.name} ({seconds:.0f} s)")
    return objects


def system_libclang():
    """The folder with a libclang that bindgen can load, or None."""
    folders = ["/usr/lib/llvm*/lib", "/usr/lib64", "/usr/lib/*-linux-gnu", "/usr/lib", "/usr/local/lib"]
    for program in ("llvm-config", "llvm-config-18", "llvm-config-16", "llvm-config-14"):
        if path := shutil.which(program):
            result = subprocess.run([path, "--libdir"], capture_output=True, text=True)
            folders.insert(0, result.stdout.strip() or folders[0])
    for pattern in folders:
        for folder in sorted(glob.glob(pattern), reverse=True):
            # `libclang-cpp.so` is another library, without the C interface.
            for name in ("libclang.so", "libclang.so.*", "libclang-[0-9]*.so*"):
                if glob.glob(os.path.join(folder, name)):
                    return folder
    return None


def pypi_libclang(cache):
    home = cache / "native" / "libclang"
    library = home / "libclang.so"
    if library.exists():
        return home
    say("no libclang on this system: taking the one of the PyPI package `libclang`")
    with tempfile.TemporaryDirectory(dir=cache / "native") as scratch:
        result = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--only-binary=:all:", "--dest", scratch, "libclang==18.1.1"],
            stdin=subprocess.DEVNULL,
        )
        wheels = glob.glob(os.path.join(scratch, "*.whl"))
        if result.returncode or not wheels:
            say("pip could not bring libclang; install your system's (Debian: libclang-dev)")
            sys.exit(1)
        home.mkdir(exist_ok=True)
        with zipfile.ZipFile(wheels[0]) as wheel:
            inside = next(n for n in wheel.namelist() if n.endswith("clang/native/libclang.so"))
            data = wheel.read(inside)
        partial = home / "libclang.so.partial"
        partial.write_bytes(data)
        partial.rename(library)
    return home


def gcc_headers():
    """The compiler's own headers (stddef.h and the like), which a bare libclang lacks."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return None
    result = subprocess.run([compiler, "-print-file-name=include"], capture_output=True, text=True)
    return result.stdout.strip() or None


def libclang_exports(cache):
    if "LIBCLANG_PATH" in os.environ:
        exports = {"LIBCLANG_PATH": os.environ["LIBCLANG_PATH"]}
        if extra := os.environ.get("BINDGEN_EXTRA_CLANG_ARGS"):
            exports["BINDGEN_EXTRA_CLANG_ARGS"] = extra
        return exports
    folder = system_libclang()
    # A full clang has these headers itself, and then its own must win.
    option = "-idirafter" if folder else "-I"
    exports = {"LIBCLANG_PATH": str(folder or pypi_libclang(cache))}
    if headers := gcc_headers():
        exports["BINDGEN_EXTRA_CLANG_ARGS"] = option + headers
    return exports


def feature_exports():
    """librdkafka where it is asked for. Its TLS needs OpenSSL's headers; without them everything else still builds."""
    if os.environ.get("MILLSTREAM_LIBRDKAFKA", "0") in ("", "0"):
        return {"MILLSTREAM_CARGO_FEATURES": ""}
    probe = shutil.which("pkg-config") or shutil.which("pkgconf")
    found = probe and subprocess.run([probe, "--exists", "openssl >= 1.1.1"]).returncode == 0
    if not found:
        say("NO TLS IN LIBRDKAFKA: OpenSSL's headers or pkg-config are missing (Debian: libssl-dev pkg-config), so in "
            "this build client=\"librdkafka\" cannot talk to secured clusters")
    return {"MILLSTREAM_CARGO_FEATURES": "millstream-kafka/librdkafka" + (",millstream-kafka/ssl" if found else "")}


@contextlib.contextmanager
def only_one(cache):
    """Two builds on one machine: the second waits and then finds the work done."""
    (cache / "native").mkdir(parents=True, exist_ok=True)
    with open(cache / "native" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build prepares these files; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(cache, jobs):
    """The environment to build in. What cannot be prepared here is left to the ordinary way, with a note."""
    exports = feature_exports()
    with only_one(cache):
        exports |= libclang_exports(cache)
        if "ROCKSDB_LIB_DIR" in os.environ and not in_cache(os.environ["ROCKSDB_LIB_DIR"], cache):
            say("ROCKSDB_LIB_DIR is set: taking RocksDB from there")
        elif folder := build_rocksdb(cache, jobs):
            exports |= {"ROCKSDB_LIB_DIR": str(folder), "ROCKSDB_STATIC": "1"}
    return exports


def in_cache(folder, cache):
    return pathlib.Path(folder).absolute().is_relative_to(cache)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=pathlib.Path, default=cache_folder())
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--env-file", type=pathlib.Path)
    options = parser.parse_args()
    exports = prepare(options.cache.absolute(), options.jobs)
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())
    if options.env_file is None:
        sys.stdout.write(text)
    elif not options.env_file.exists() or options.env_file.read_text() != text:
        options.env_file.parent.mkdir(parents=True, exist_ok=True)
        options.env_file.write_text(text)


if __name__ == "__main__":
    main()

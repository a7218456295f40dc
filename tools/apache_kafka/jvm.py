"""Java: the jars of Apache Kafka, fetched once through Maven, and command lines that use them."""

import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
POM = HERE / "pom.xml"
VERSION = re.search(r"<version\.kafka>([^<]+)<", POM.read_text())[1]

OLDEST_JAVA = 17


class CannotRunHere(Exception):
    """This machine lacks something. The message names it and says how to get it."""


class Failed(Exception):
    """It should have worked and did not."""


def cache():
    if chosen := os.environ.get("MILLSTREAM_CACHE"):
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "millstream"


def java():
    """The `java` program, checked for its age."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else None
    program = program or shutil.which("java")
    if not program:
        raise CannotRunHere(
            f"there is no `java` here: Apache Kafka needs a JDK, {OLDEST_JAVA} or later "
            "(Debian: openjdk-17-jdk-headless)"
        )
    shown = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', shown)
    if not version or int(version[1]) < OLDEST_JAVA:
        raise CannotRunHere(f"{program} is too old for Apache Kafka {VERSION}: {OLDEST_JAVA} or later is needed")
    return program


def keytool():
    program = shutil.which("keytool", path=str(pathlib.Path(java()).resolve().parent)) or shutil.which("keytool")
    if not program:
        raise CannotRunHere("there is no `keytool` here: a secured cluster needs a full JDK, not only a JRE")
    return program


def jars():
    """The folder with the jars. The second call costs a look at names and sizes."""
    folder = cache() / "kafka" / f"{VERSION}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(folder):
            fetch(folder)
    return folder


def is_whole(folder):
    """Whether every jar that Maven brought is still there, at its size."""
    try:
        expected = json.loads((folder / "manifest.json").read_text())
        return all((folder / name).stat().st_size == size for name, (size, _) in expected.items())
    except (FileNotFoundError, ValueError):
        return False


def fetch(folder):
    java()
    maven = shutil.which("mvn")
    if not maven:
        raise CannotRunHere("there is no `mvn` here: Apache Kafka's jars come through Maven (Debian: maven)")
    print(f"kafka: fetching Apache Kafka {VERSION} through Maven (about 120 MB, once)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix="fetching-", dir=folder.parent))
    try:
        # Strict: a download whose checksum is wrong fails here, not later in a broker.
        result = subprocess.run(
            [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", POM,
             "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"],
            stdin=subprocess.DEVNULL, stdout=sys.stderr,
        )
        names = sorted(partial.glob("*.jar"))
        if result.returncode or not names:
            raise Failed("Maven could not bring the jars of Apache Kafka; its messages stand above")
        manifest = {p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in names}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def class_path():
    own = os.environ.get("CLASSPATH")
    return os.pathsep.join([f"{jars()}/*", *([own] if own else [])])


def command(arguments, heap, log_level, options=()):
    """A command line that runs a class (or JVM options, then a class) on Kafka's class path."""
    return [
        java(), f"-Xmx{heap}", *options, "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}", f"-Dmillstream.log.level={log_level}",
        "-cp", class_path(), *map(str, arguments),
    ]


def tool_command(arguments):
    """The same for something short-lived, where the start is most of the time."""
    return command(arguments, "512m", "WARN", ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"])

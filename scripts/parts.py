"""Fetches the real servers and tools that tests run against into `.parts/` (or `OPINTEL_PARTS`), and lists them.

`make parts` runs it; `tests/conftest.py` asks `locate` for each part. What is present is not fetched again. Only the
standard library is used, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
APT = ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300")


class Part(NamedTuple):
    """`find` gives the part's path, or None; `fetch` gets it, or raises OSError or CalledProcessError."""

    what: str
    find: Callable[[], Path | None]
    fetch: Callable[[], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches what is missing, or lists (`--list`); 1 where a part is missing in the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what is there, fetch nothing")
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    missing = 0
    for name in options.part or PARTS:
        reason = "not there; run `make parts`" if options.list else fetch(name)
        place = locate(name)
        missing += place is None
        print(f"{name:10} {place or 'MISSING: ' + reason}  ({PARTS[name].what})", flush=True)
    return 1 if missing else 0


def folder() -> Path:
    """Where fetched parts lie: `OPINTEL_PARTS`, else `.parts` in the checkout."""
    return Path(os.environ.get("OPINTEL_PARTS") or REPOSITORY / ".parts").absolute()


def locate(name: str) -> Path | None:
    """The path of a part (a program, or a folder of jars), None where it is missing. KeyError for an unknown name."""
    return PARTS[name].find()


def fetch(name: str) -> str:
    """Gets a part unless it is there; returns why it could not be had, else ''."""
    if locate(name) is not None:
        return ""
    print(f"fetching {name}: {PARTS[name].what}", flush=True)
    try:
        PARTS[name].fetch()
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd[:6])} …` failed: {(error.stderr or error.stdout or '').strip()[-300:]}"
    except OSError as error:
        return str(error)
    return "fetched, but not found afterwards"


def find_activemq() -> Path | None:
    jars = folder() / "activemq"
    complete = shutil.which("java") and all(
        any(jars.glob(f"{jar}-*.jar")) for jar in ("activemq-stomp", "activemq-kahadb-store", "slf4j-simple")
    )
    return jars if complete else None


def fetch_jars(name: str) -> None:
    """By Maven, versions as in `deploy/NAME/pom.xml`; made beside the place, then moved: whole or not at all."""
    need("java", "a Java runtime (Debian: default-jdk-headless)")
    need("mvn", "Maven (Debian: maven)")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        pom = Path(shutil.copy(REPOSITORY / "deploy" / name / "pom.xml", work))
        copy = ("dependency:copy-dependencies", f"-DoutputDirectory={work}/jars", "-DincludeScope=runtime")
        run("mvn", "-B", "-q", "-f", str(pom), *copy)
        shutil.rmtree(folder() / name, ignore_errors=True)
        Path(work, "jars").rename(folder() / name)


def find_kafka() -> Path | None:
    """Fetched jars, else those of an Apache distribution that `KAFKA_HOME` names."""
    places = [folder() / "kafka"]
    if os.environ.get("KAFKA_HOME"):
        places.append(Path(os.environ["KAFKA_HOME"], "libs"))
    complete = (jars for jars in places if any(jars.glob("kafka_2.*.jar")) and any(jars.glob("kafka-clients-*.jar")))
    return next(complete, None) if shutil.which("java") else None


def find_chromium() -> Path | None:
    return on_path("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def fetch_chromium() -> None:
    """Debian's package and a font; as root, since its shared libraries must lie where the loader looks."""
    need("apt-get", "a Chromium on the PATH (there is no apt-get here to install it)")
    if os.geteuid() != 0:
        raise OSError("needs root: `sudo apt-get install chromium fonts-liberation`")
    install = (*APT, "install", "--no-install-recommends", "chromium", "fonts-liberation")
    try:
        run(*install)
    except subprocess.CalledProcessError:
        run(*APT, "update")
        run(*install)


def find_promtool() -> Path | None:
    unpacked = folder() / "prometheus" / "usr" / "bin" / "promtool"
    return unpacked if os.access(unpacked, os.X_OK) else on_path("promtool")


def find_faketime() -> Path | None:
    """The library to preload (`LD_PRELOAD`, `FAKETIME_TIMESTAMP_FILE`): fetched, else the system's."""
    places = (folder() / "faketime" / "usr" / "lib", Path("/usr/lib"))
    return next((found for place in places for found in place.glob("*/faketime/libfaketime.so.1")), None)


def fetch_package(name: str, package: str) -> None:
    """Debian's package, unpacked into the folder of its part but not installed: needs no root, starts no service."""
    need("apt-get", f"{name} (there is no apt-get here to download it)")
    need("dpkg-deb", "dpkg-deb")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        try:
            run("apt-get", "-q", "download", package, cwd=work)
        except subprocess.CalledProcessError:
            run(*APT, "update")
            run("apt-get", "-q", "download", package, cwd=work)
        archive = next(Path(work).glob(f"{package}_*.deb"))
        run("dpkg-deb", "-x", str(archive), f"{work}/files")
        shutil.rmtree(folder() / name, ignore_errors=True)
        Path(work, "files").rename(folder() / name)


def on_path(*names: str) -> Path | None:
    """The first of `names` that is a program on the PATH."""
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None


def need(program: str, what: str) -> None:
    if shutil.which(program) is None:
        raise OSError(f"needs {what}")


def run(*command: str, cwd: str | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, env=environment)


PARTS = {
    "activemq": Part("message broker that speaks STOMP, jars", find_activemq, partial(fetch_jars, "activemq")),
    "chromium": Part("browser for the console's tests", find_chromium, fetch_chromium),
    "faketime": Part(
        "lets a process see another time, library", find_faketime, partial(fetch_package, "faketime", "libfaketime")
    ),
    "kafka": Part("Apache Kafka broker, jars", find_kafka, partial(fetch_jars, "kafka")),
    "promtool": Part("checks metrics and rules", find_promtool, partial(fetch_package, "prometheus", "prometheus")),
}

if __name__ == "__main__":
    sys.exit(main())

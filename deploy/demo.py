"""`make demo`: simulated scenes of two passes, through a broker, into PostGIS, and what came of it.

Can be run twice: scenes that are done already are announced again, and nothing changes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

sys.path.insert(0, str(Path(__file__).parent))
import demo_alerts  # noqa: E402
import demo_changes  # noqa: E402
import demo_report  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
SCENES = DEMO / "scenes"
SIMULATE = ["--scenes", "2", "--passes", "2", "--seed", "7", "--size", "2400x2400"]
DATABASE = "fusar_demo"
console = Console(highlight=False)


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    environment = dict(os.environ)
    step("PostGIS")
    url = database(environment)
    with broker(environment):
        products = scenes()
        environment.setdefault("FUSAR_CHANGE__ARCHIVE", str(DEMO / "chips"))
        environment["FUSAR_PRIOR__INDEX"] = str(SCENES / "alphaearth" / "index.json")
        step("Tables")
        call(environment, "fusar", "db", "upgrade")
        step("Rules that say what to alert of")
        for rule in demo_alerts.write_rules(products, DEMO / "rules"):
            call(environment, "fusar", "rules", "add", str(rule))
            call(environment, "fusar", "rules", "enable", rule.stem)
        before = demo_report.runs(url)
        step("Announce the scenes")
        call(environment, "fusar", "publish", *map(str, products))
        step("Watch for scenes until nothing comes for 10 s")
        call(environment, "fusar", "run", "--until-idle", "10")
    new = demo_report.runs(url) - before
    step("Ledgers")
    call(environment, "fusar", "status")
    if not new:
        console.print("Every scene was done before by the same versions: nothing has changed.")
    step("Truth against detections")
    demo_report.accuracy(console, url, SCENES)
    step("What changed between the passes")
    marked = demo_changes.changes(console, url, SCENES)
    changed = DEMO / "changes.png"
    demo_changes.picture(marked, products, changed)
    step("Alerts")
    demo_alerts.alerts(console, url)
    step("A question to the database")
    demo_report.question(console, url)
    step("One scene without broker or database")
    picture, features = DEMO / "detections.png", DEMO / "detections.geojson"
    options = [
        "--prior",
        environment["FUSAR_PRIOR__INDEX"],
        "--out",
        str(features),
        "--picture",
        str(picture),
    ]
    if engine := environment.get("FUSAR_ENGINE__BUNDLE"):
        options += ["--engine", engine]
    call(environment, "fusar", "detect", str(products[-1]), *options)
    step(f"Done in {time.monotonic() - began:.0f} s")
    console.print(f"pictures   {picture}\n           {changed}\nGeoJSON    {features}\nscenes     {SCENES}")
    console.print('look       eval "$(make -s env)"; .venv/bin/fusar status')
    console.print("stop       make stop\nclean up   make clean")


def step(title: str) -> None:
    """Say what comes."""
    console.print(Rule(title, align="left"))


def call(environment: dict[str, str], program: str, *arguments: str) -> None:
    """Run a command of the environment; end with its exit code where it fails."""
    shown = " ".join(a.removeprefix(f"{ROOT}/") for a in arguments)
    console.print(f"$ {program} {shown}", style="dim", markup=False, soft_wrap=True)
    code = subprocess.run(
        [Path(sys.executable).parent / program, *arguments], env=environment, cwd=ROOT
    ).returncode
    if code:
        sys.exit(f"{program} {shown}: exit code {code}")


def database(environment: dict[str, str]) -> URL:
    """Return the demo's database; of our own cluster unless a setting names one."""
    if given := environment.get("FUSAR_STORE__URL"):
        url = make_url(given)
        console.print(f"the database of FUSAR_STORE__URL: {url.render_as_string()}")
        return url
    if subprocess.run([ROOT / "deploy" / "postgis.sh", "start"]).returncode:
        sys.exit("no PostGIS: see above")
    administrator = make_url((ROOT / ".services" / "postgis.url").read_text().strip())
    engine = create_engine(administrator, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        there = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if not connection.execute(there, {"name": DATABASE}).first():
            connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    engine.dispose()
    url = administrator.set(database=DATABASE)
    environment["FUSAR_STORE__URL"] = url.render_as_string(hide_password=False)
    return url


@contextlib.contextmanager
def broker(environment: dict[str, str]) -> Iterator[None]:
    """Find a broker: the one of the settings, else our own if it runs, else one within this process."""
    step("Broker")
    environment.setdefault("FUSAR_KAFKA__GROUP", "fusar-demo")
    ours = ROOT / ".services" / "kafka" / "bootstrap"
    running = (
        subprocess.run([ROOT / "deploy" / "kafka.sh", "status"], stdout=subprocess.DEVNULL).returncode == 0
    )
    if given := environment.get("FUSAR_KAFKA__BOOTSTRAP"):
        console.print(f"Kafka at {given}, named by FUSAR_KAFKA__BOOTSTRAP")
        yield
    elif running:
        environment["FUSAR_KAFKA__BOOTSTRAP"] = ours.read_text().strip()
        console.print(f"our own Apache Kafka at {environment['FUSAR_KAFKA__BOOTSTRAP']} (make kafka)")
        yield
    else:
        from confluent_kafka import Producer

        producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        address = next(iter(producer.list_topics(timeout=10).brokers.values()))
        environment["FUSAR_KAFKA__BOOTSTRAP"] = f"{address.host}:{address.port}"
        environment["FUSAR_KAFKA__API_VERSION"] = "2.1"  # what it speaks; it cannot be asked
        console.print(
            f"confluent-kafka's broker within this process, at {address.host}:{address.port}. "
            "It keeps nothing: `make kafka` starts a real one, which the next `make demo` uses."
        )
        yield


def scenes() -> list[Path]:
    """Simulate the scenes, unless they are there; return their products."""
    step("Simulated scenes: two sites, two passes each, with truth and AlphaEarth tiles")
    complete = DEMO / "simulated"
    if not complete.exists() or complete.read_text() != " ".join(SIMULATE):
        DEMO.mkdir(exist_ok=True)
        call(dict(os.environ), "fusar-engine", "simulate", str(SCENES), *SIMULATE)
        complete.write_text(" ".join(SIMULATE))
    products = sorted(SCENES.glob("*.SAFE"), key=lambda path: path.name.split("_")[4])
    for product in products:
        console.print(product.name)
    return products


if __name__ == "__main__":
    main()

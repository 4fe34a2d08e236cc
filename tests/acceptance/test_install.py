"""`deploy/install`, run for real into a folder that stands for /: twice, forward, back, and off again.

Nothing is downloaded: the consumer comes as a wheel of this checkout, all other packages from the venv of the tests.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_path

import pytest

from tests.conftest import ROOT
from tests.processes import INHERITED

INSTALL = ROOT / "deploy" / "install"
VERSION = "0.1.0"
PREFIX, ETC = Path("opt/workflow-consumer"), Path("etc/workflow-consumer")
UNITS = Path("etc/systemd/system")


def wheel(folder: Path, mark: str = "") -> Path:
    """A wheel of this checkout, as its build system makes one, with a file more to tell two of them apart."""
    folder.mkdir()
    info = f"workflow_consumer-{VERSION}.dist-info"
    path = folder / f"workflow_consumer-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for package in ("consumer", "handlers", "schemas"):
            for file in (ROOT / package).rglob("*"):
                if file.is_file() and file.suffix != ".pyc":
                    archive.write(file, file.relative_to(ROOT))
        archive.writestr("consumer/mark.txt", mark)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: workflow-consumer\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nconsumer = consumer.__main__:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two releases."""
    folder = tmp_path_factory.mktemp("wheels")
    return [wheel(folder / mark, mark) for mark in ("first", "second")]


def install(root: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env |= {"DESTDIR": str(root), "PYTHON": sys.executable, **more}
    return subprocess.run([INSTALL, *options], env=env, capture_output=True, text=True, timeout=170, check=False)


def done(root: Path, *options: str) -> str:
    run = install(root, *options)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def from_wheel(path: Path) -> list[str]:
    return ["--wheel", str(path), "--packages", get_path("purelib")]


def picture(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Every file under a folder: its mode and what is in it, or where it points."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.lstat().st_mode),
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder",
        )
        for path in root.rglob("*")
        if "__pycache__" not in path.parts
    }


def enabled(root: Path) -> list[str]:
    return sorted(path.name for path in (root / UNITS / "multi-user.target.wants").iterdir())


def release(root: Path, link: str = "current") -> str:
    return (root / PREFIX / link / "lib").glob("python3*/site-packages/consumer/mark.txt").__next__().read_text()


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("root")
    said = done(root, *from_wheel(wheels[0]))
    assert "systemctl start workflow-consumer.service" in said
    yield root


def test_the_program_runs_and_its_units_are_those_of_the_checkout(installed: Path) -> None:
    python = installed / PREFIX / "current/bin/python"
    said = subprocess.run([python, "-m", "consumer", "--version"], capture_output=True, text=True, check=True, cwd="/")
    assert VERSION in said.stdout
    for name in ("workflow-consumer.service", "workflow-consumer@.service"):
        text, ours = (installed / UNITS / name).read_text(), (ROOT / "deploy" / name).read_text()
        assert text.replace("ProtectHome=read-only", "ProtectHome=yes") == ours
    assert enabled(installed) == ["workflow-consumer.service"]
    first = (installed / PREFIX / "current/bin/consumer").read_text()
    assert str(installed) not in first  # the paths are those of the host that it will be
    assert f"/{PREFIX}/releases/" in first


def test_settings_and_key_are_for_root_alone(installed: Path) -> None:
    modes = {name: mode for name, (mode, _) in picture(installed / "etc").items() if "workflow-consumer" in name}
    assert modes["workflow-consumer"] == 0o700
    assert modes["workflow-consumer/env"] == modes["workflow-consumer/SUPABASE_SERVICE_ROLE_KEY"] == 0o600
    example = (ROOT / "deploy/env.example").read_text()
    assert (installed / ETC / "env").read_text() == example.replace("SUPABASE_SERVICE_ROLE_KEY=\n", "")
    assert (installed / ETC / "SUPABASE_SERVICE_ROLE_KEY").read_text().strip() == ""


def test_the_operators_command_reads_the_settings_of_the_service(installed: Path) -> None:
    script = (installed / "usr/local/bin/consumer").read_text()
    here = script.replace("/opt/", f"{installed}/opt/").replace("/etc/", f"{installed}/etc/")
    here = here.replace("bin/consumer", "bin/python -m consumer")
    key = installed / ETC / "SUPABASE_SERVICE_ROLE_KEY"
    for text, reason in (("", "is not set"), ("sb_publishable_0\n", "is the publishable key")):
        key.write_text(text)
        said = subprocess.run(["sh", "-c", here, "consumer", "audit"], capture_output=True, text=True, check=False)
        (line,) = said.stderr.splitlines()
        assert line.startswith(f"consumer: SUPABASE_SERVICE_ROLE_KEY: {reason}")


def test_a_second_run_changes_nothing_and_what_people_wrote_stays(installed: Path, wheels: list[Path]) -> None:
    (installed / ETC / "env").write_text("SUPABASE_URL=https://mine.supabase.co\n")
    (installed / ETC / "SUPABASE_SERVICE_ROLE_KEY").write_text("mine\n")
    before = picture(installed)
    done(installed, *from_wheel(wheels[0]))
    assert picture(installed) == before


def test_a_dry_run_changes_nothing(installed: Path, wheels: list[Path], tmp_path: Path) -> None:
    before = picture(installed)
    for options in (from_wheel(wheels[1]), ["--uninstall", "--purge"]):
        assert "would run: " in done(installed, "--dry-run", *options)
    assert picture(installed) == before
    done(tmp_path / "fresh", "--dry-run")
    assert not (tmp_path / "fresh").exists()


def test_an_upgrade_that_was_broken_off_is_begun_anew_and_keeps_the_release_before_for_a_rollback(
    installed: Path, wheels: list[Path]
) -> None:
    assert install(installed, "--rollback").returncode == 1
    (half,) = re.findall(r"building release \S+ in (\S+)", done(installed, "--dry-run", *from_wheel(wheels[1])))
    (Path(half) / "bin").mkdir(parents=True)
    (Path(half) / "bin/consumer").write_text("half")
    done(installed, *from_wheel(wheels[1]), "--workers", "2")
    assert (release(installed), release(installed, "previous")) == ("second", "first")
    assert (Path(half) / "bin/consumer").read_text() != "half"
    assert enabled(installed) == ["workflow-consumer@1.service", "workflow-consumer@2.service"]
    done(installed, "--rollback")
    assert (release(installed), release(installed, "previous")) == ("first", "second")
    done(installed, "--rollback")
    assert release(installed) == "second"
    assert len(list((installed / PREFIX / "releases").iterdir())) == 2


def test_how_many_workers_there_are_stays_until_it_is_said_anew(installed: Path, wheels: list[Path]) -> None:
    done(installed, *from_wheel(wheels[1]))
    assert enabled(installed) == ["workflow-consumer@1.service", "workflow-consumer@2.service"]
    done(installed, *from_wheel(wheels[1]), "--workers", "1")
    assert enabled(installed) == ["workflow-consumer@1.service"]
    done(installed, *from_wheel(wheels[1]), "--workers", "0")
    assert enabled(installed) == ["workflow-consumer.service"]


def test_uninstalled_settings_stay_until_they_are_purged_and_then_nothing_is_left(installed: Path) -> None:
    (installed / "usr/local/bin/other").write_text("of somebody else")
    done(installed, "--uninstall")
    assert {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()} == {
        ETC / "env", ETC / "SUPABASE_SERVICE_ROLE_KEY", Path("usr/local/bin/other"),
    }  # fmt: skip
    done(installed, "--uninstall", "--purge")
    assert [path.name for path in installed.rglob("*") if not path.is_dir()] == ["other"]
    assert not (installed / PREFIX).exists()
    assert not (installed / ETC).exists()


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        (["--nonsense"], {}, "there is no option --nonsense"),
        (["--workers", "many"], {}, "--workers: many is not a number"),
        (["--prefix", "relative"], {}, "--prefix: relative is not a plain absolute path"),
        (["--workers"], {}, "--workers needs a value"),
        (["--purge"], {}, "--purge goes with --uninstall"),
        (["--packages", "/usr"], {}, "give the consumer itself with --wheel"),
        (["--wheel", "/none.whl"], {}, "there is no file /none.whl"),
        ([], {"PYTHON": "/usr/bin/false"}, "Python 3.11 or newer is needed"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_done(
    tmp_path: Path, options: list[str], more: dict[str, str], words: str
) -> None:
    run = install(tmp_path / "root", *options, **more)
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1
    assert line.startswith("install: ")
    assert words in line
    assert not (tmp_path / "root").exists()

"""Commands of other parts, found by their entry points."""

from importlib import metadata

import pytest

from kompakt_client.cli import _plugins, main


def fake_entry(name, load):
    class Entry(metadata.EntryPoint):
        def load(self):
            return load()

    return Entry(name=name, value="somewhere:main", group=_plugins.GROUP)


@pytest.fixture
def install(monkeypatch):
    def install(name, load):
        entries = [fake_entry(name, load)]
        monkeypatch.setattr(metadata, "entry_points", lambda **_: entries)
        return entries

    return install


def test_a_plugin_gets_its_arguments_and_gives_its_status(install):
    seen = []

    def command(argv):
        seen.append(argv)
        return 7

    install("serve", lambda: command)

    assert main(["serve", "--port", "0"]) == 7
    assert seen == [["--port", "0"]]


def test_help_lists_plugins_without_loading_them(install, capsys):
    install("serve", lambda: pytest.fail("loaded"))

    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "run the server (needs the service extra)" in out


def test_the_clients_commands_never_look_for_plugins(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "entry_points", lambda **_: pytest.fail("looked"))

    assert main(["models", "--help"]) == 0
    assert "models" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "extra"), [("serve", "service"), ("train", "training")])
def test_a_missing_extra_is_named(install, capsys, name, extra):
    def load():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    install(name, load)

    assert main([name]) == 1
    expected = f"kompakt {name} needs the {extra} extra: pip install 'kompakt[{extra}]'\n"
    assert capsys.readouterr().err == expected


def test_an_extra_that_is_missed_only_when_the_command_runs_is_named(install, capsys):
    def command(_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    install("serve", lambda: command)

    assert main(["serve"]) == 1
    assert "needs the service extra" in capsys.readouterr().err


def test_a_broken_part_of_kompakt_is_no_missing_extra(install, capsys):
    def load():
        raise ImportError("cannot import name 'x'", name="kompakt_service.cli")

    install("serve", load)

    assert main(["serve"]) == 1
    assert capsys.readouterr().err == "kompakt serve cannot be loaded: cannot import name 'x'\n"


def test_a_library_that_cannot_be_loaded_is_no_missing_extra(install, capsys):
    def load():
        raise ImportError("libtorch_cpu.so: cannot allocate memory", name="torch._C")

    install("serve", load)

    assert main(["serve"]) == 1
    expected = "kompakt serve cannot be loaded: libtorch_cpu.so: cannot allocate memory\n"
    assert capsys.readouterr().err == expected


def test_other_packages_may_add_commands(install, capsys):
    install("hello", lambda: lambda _: print("hello") or 0)

    assert main(["hello"]) == 0
    assert main(["--help"]) == 0
    assert "a command of another package" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (SystemExit(3), 3), (RuntimeError("no"), 1)]
)
def test_a_plugin_may_fail_in_any_way(install, capsys, error, status):
    def command(_):
        raise error

    install("serve", lambda: command)

    assert main(["serve"]) == status
    assert "Traceback" not in capsys.readouterr().err

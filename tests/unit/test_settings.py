"""Settings from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from jac_orc.core import config
from jac_orc.core.config import ConfigurationError
from jac_orc.module_server.settings import Settings as ModuleServerSettings
from jac_orc.pod_manager.settings import Settings as PodManagerSettings


@dataclass(frozen=True)
class Sample:
    name: str
    count: int = 1
    ratio: float = 0.5
    on: bool = False
    where: Path = Path("/a")
    maybe: int | None = None
    several: tuple[str, ...] = ()


def test_variables_are_named_as_fields() -> None:
    environ = {"X_NAME": "n", "X_COUNT": "3", "X_RATIO": "1.5", "X_ON": "True", "X_WHERE": "/b", "X_MAYBE": "7",
               "X_SEVERAL": "a, b ,,c", "NAME": "other"}  # fmt: skip
    assert config.load(Sample, environ, "X_") == Sample("n", 3, 1.5, True, Path("/b"), 7, ("a", "b", "c"))


def test_what_is_not_set_or_empty_keeps_its_default() -> None:
    assert config.load(Sample, {"NAME": "n", "COUNT": "", "MAYBE": ""}) == Sample("n")


@pytest.mark.parametrize("text", ["true", "1", "YES", "false", "0", "no"])
def test_booleans(text: str) -> None:
    assert config.load(Sample, {"NAME": "n", "ON": text}).on is (text in ("true", "1", "YES"))


@pytest.mark.parametrize(
    ("variable", "text"), [("COUNT", "x"), ("COUNT", "1.5"), ("RATIO", "x"), ("ON", "maybe"), ("MAYBE", "x")]
)
def test_a_faulty_variable_is_named(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{text}': expected"):
        config.load(Sample, {"NAME": "n", variable: text})


@pytest.mark.parametrize("environ", [{}, {"NAME": ""}])
def test_a_missing_variable_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="NAME is not set"):
        config.load(Sample, environ)


def test_settings_of_the_services_are_read() -> None:
    environ = {
        "MODULE_NAME": "math",
        "REFUSED_MODULES": "numpy,os.path",
        "LOG_FILE": "/l",
        "NOTIFY_FD": "5",
        "TIMEOUT": "1.5",
    }
    expected = ModuleServerSettings(
        "math", refused_modules=("numpy", "os.path"), log_file="/l", notify_fd=5, timeout=1.5
    )
    assert config.load(ModuleServerSettings, environ) == expected
    environ = {"Q_PORT": "1", "Q_STATE_DIR": "/s", "Q_POLICY_FILE": "/p", "Q_AUTO_DEPLOY": "false"}
    pod_manager = PodManagerSettings(port=1, state_dir=Path("/s"), policy_file=Path("/p"), auto_deploy=False)
    assert config.load(PodManagerSettings, environ, "Q_") == pod_manager


def test_every_setting_is_of_a_kind_that_loads() -> None:
    assert config.load(ModuleServerSettings, {"MODULE_NAME": "math"}).port == 50051
    assert config.load(PodManagerSettings, {}, "POD_MANAGER_").port == 50050

"""What a command line asks for is checked before Hydra runs anything."""

import pytest

from medcritical.cli.compose import check_command, check_overrides
from medcritical.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("foo", "foo is no override"),
        ("seed=1 foo plan=true", "foo is no override"),
        ("--info all foo", "foo is no override"),
        ("--package sft --cfg job foo", "foo is no override"),
        ("-c job -p sft foo", "foo is no override"),
        ("--config-name config foo", "foo is no override"),
        ("-m seed=1,2 foo", "foo is no override"),
        ("seed=1,2", "seed=1,2 names 2 values: add -m"),
        ("student=tiny,smollm2_135m", "student=tiny,smollm2_135m names 2 values: add -m"),
        ("-m seed=1,2 arm=dpo_self,dpo_selv", "in cell seed=1 arm=dpo_selv: arm=dpo_selv is not available"),
        ("--multirun selfplay.beta=0.1,-2", "in cell selfplay.beta=-2: selfplay.beta=-2 is out of range"),
        ("sweeps=seeds selfplay.beta=-1", "in cell sweeps=seeds selfplay.beta=-1 seed=0: selfplay.beta=-1"),
        ("selfplay=null", "Config group override"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_command(line.split())
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--cfg job",
        "--cfg job --package sft --resolve seed=3",
        "--info all",
        "--info",
        "-m seed=1,2",
        "--config-dir elsewhere student=mine",  # only Hydra knows that folder
    ],
)
def test_values_of_flags_are_no_overrides(line: str) -> None:
    check_command(line.split())


def test_every_cell_is_returned_in_hydras_order() -> None:
    cells = check_overrides(["selfplay.beta=0.1,0.3", "seed=range(2)", "arm=dpo_self"])
    assert [(cell.selfplay.beta, cell.seed) for cell in cells] == [(0.1, 0), (0.1, 1), (0.3, 0), (0.3, 1)]


def test_a_swept_group_is_composed_for_every_cell() -> None:
    cells = check_overrides(["data/world=easy,hard"])
    assert [cell.data.world.options for cell in cells if cell.data.world] == [4, 8]


def test_a_list_is_no_sweep() -> None:
    check_command(["arm=[dpo_self,dpo_samples]", "logger.tags=[a,b]"])

import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medcritical.config.choices import WandbMode
from medcritical.errors import ConfigError, DataError
from medcritical.reporting import wandb_export
from medcritical.reporting.figures import accuracy_figure
from medcritical.reporting.pooling import pool_seeds
from medcritical.reporting.wandb_export import REDACTED, RunExport, export_run, redact
from wandb_log import axes, history, items, of_kind, table

FALLBACK_SECONDS = 15.0  # docs/tracking.md: what 8 s of waiting come to; here it is 1 s. W&B itself would wait for 90

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def run(make_row, tmp_path):
    rows = [make_row(title="监督微调", beta=None), make_row("dpo_self", 1, 121)]
    accuracy_figure(pool_seeds(rows), {}, tmp_path / "accuracy.png")
    series = [
        ("sft", [{"step": 1, "train/loss": 2.0}, {"step": 5, "train/loss": 0.5}]),
        ("sft/second", [{"step": 1, "train/loss": 9.0}]),
        ("dpo_self/1", [{"step": 1, "train/margin": 0.0}, {"step": 2, "train/margin": 0.25, "train/grad_norm": 3.0}]),
    ]
    config = {"seed": 3, "generation": {"max_new_tokens": 64}, "teacher": {"api_key": "s3cr3t-value"}}
    return RunExport("demo-0", "demo", "grid", "cell", config, series, rows, [tmp_path / "accuracy.png"])


def export(run: RunExport, folder: Path, mode: WandbMode = WandbMode.offline) -> Path:
    place = export_run(run, mode=mode, project="medcritical", entity="", tags=["clinic"], folder=folder)
    assert place is not None
    return place


def test_offline_export_holds_run_config_history_and_summary(run, tmp_path):
    place = export(run, tmp_path / "wandb-out")
    assert (tmp_path / "wandb-out") in place.parents
    (header,) = of_kind(place, "run")
    assert (header.run_id, header.display_name, header.run_group, header.job_type) == ("demo-0", "demo", "grid", "cell")
    assert (header.project, list(header.tags), header.host) == ("medcritical", ["clinic"], "")
    config = {key: value for key, value in items(header.config.update).items() if not key.startswith("_")}
    assert config == {"seed": 3, "generation": {"max_new_tokens": 64}, "teacher": {"api_key": REDACTED}}

    assert history(place)[:5] == [
        {"sft/step": 1, "sft/train/loss": 2.0},
        {"sft/step": 5, "sft/train/loss": 0.5},
        {"sft/second/step": 1, "sft/second/train/loss": 9.0},
        {"dpo_self/1/step": 1, "dpo_self/1/train/margin": 0.0},
        {"dpo_self/1/step": 2, "dpo_self/1/train/margin": 0.25, "dpo_self/1/train/grad_norm": 3.0},
    ]
    summary: dict[str, object] = {}
    for record in of_kind(place, "summary"):
        summary.update(items(record.update))
    assert summary["accuracy/clinic/test/dpo_self/1"] == 0.605
    assert summary["accuracy/clinic/test/sft/0"] == 0.5


def test_each_series_has_its_own_step_axis(run, tmp_path):
    assert axes(export(run, tmp_path)) == {
        "sft/train/loss": "sft/step",
        "sft/second/train/loss": "sft/second/step",
        "dpo_self/1/train/margin": "dpo_self/1/step",
        "dpo_self/1/train/grad_norm": "dpo_self/1/step",
    }


def test_summary_is_a_table_and_figures_are_images(run, tmp_path):
    place = export(run, tmp_path)
    assert [(row["title"], row["beta"], row["num_correct"]) for row in table(place, "summary")] == [
        ("监督微调", None, 100),
        ("DPO_SELF", 0.1, 121),
    ]
    (image,) = (place / "files" / "media" / "images").rglob("accuracy_*.png")
    assert image.read_bytes() == run.figures[0].read_bytes()


def test_no_secret_reaches_the_disk(run, tmp_path):
    folder = tmp_path / "wandb-out"
    export(run, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if b"s3cr3t-value" in path.read_bytes()]


def test_a_second_export_under_the_same_id_is_a_whole_one_and_takes_the_place_of_the_first(run, tmp_path):
    other = export(replace(run, id="demo-00"), tmp_path)
    first, second = export(run, tmp_path), export(run, tmp_path)
    assert first != second
    assert sorted(first.parent.glob("offline-run-*")) == sorted([other, second])
    assert [items(row.item)["sft/step"] for row in of_kind(second, "history")[:2]] == [1, 5]
    assert of_kind(second, "run")[0].run_id == "demo-0"


@pytest.mark.parametrize("has_key", [False, True])
def test_online_without_login_or_server_goes_to_disk_with_one_warning(run, tmp_path, monkeypatch, caplog, has_key):
    monkeypatch.setattr(wandb_export, "CONNECT_SECONDS", 1.0)
    if has_key:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="medcritical"):
        place = export(run, tmp_path, WandbMode.online)
    assert time.monotonic() - start < FALLBACK_SECONDS
    assert place.name.startswith("offline-run-")
    assert len(of_kind(place, "history")) == 7
    (warning,) = [record for record in caplog.records if record.name == wandb_export.__name__]
    assert "wandb sync" in warning.getMessage()


def test_an_interruption_is_no_traceback(run, tmp_path, monkeypatch, capfd):
    def interrupt(session, figures):
        raise KeyboardInterrupt

    monkeypatch.setattr(wandb_export, "_log_figures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(run, tmp_path)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_disabled_does_nothing(run, tmp_path):
    folder = tmp_path / "wandb-out"
    assert export_run(run, mode=WandbMode.disabled, project="p", entity="", tags=[], folder=folder) is None
    assert not folder.exists()


def test_a_row_without_step_is_refused(run, tmp_path):
    broken = RunExport("demo-0", "demo", "g", "j", {}, [("sft", [{"step": 1}, {"train/loss": 2.0}])], [], [])
    with pytest.raises(DataError, match="row 2 of metric series 'sft'"):
        export(broken, tmp_path)


def test_a_project_that_wandb_refuses_is_a_config_error(run, tmp_path):
    with pytest.raises(ConfigError, match=r"logger\.project"):
        export_run(run, mode=WandbMode.offline, project="a/b", entity="", tags=[], folder=tmp_path)


@pytest.mark.parametrize(
    "key", ["api_key", "apiKey", "APIKEY", "hf_token", "access-token", "secret", "Password", "key"]
)
def test_secrets_are_redacted_by_key(key):
    assert redact({"a": [{key: "x"}]}) == {"a": [{key: REDACTED}]}


def test_the_user_in_a_url_is_redacted():
    url = "https://anna:s3cr3t@host:8000/v1"
    assert redact({"url": url, "other": "http://host/a@b"}) == {
        "url": f"https://{REDACTED}@host:8000/v1",
        "other": "http://host/a@b",
    }


@pytest.mark.parametrize("key", ["max_new_tokens", "tokenizer", "monkey", "keys_seen", "title"])
def test_other_keys_are_kept(key):
    assert redact({key: ("x", 1)}) == {key: ["x", 1]}

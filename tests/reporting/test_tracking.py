"""A finished run as a W&B run: from its folder alone, read back from what W&B wrote."""

import json
from urllib.parse import urlsplit

import pytest
import wandb

from medcritical.cli.wandb import main
from medcritical.config.choices import WandbMode
from medcritical.pipeline.tracking import describe_run, export_folder
from medcritical.reporting import wandb_export
from medcritical.reporting.dashboard import make_sections
from medcritical.reporting.summary import Results
from wandb_log import axes, history, isolate_wandb, items, of_kind, table
from wandb_server import serve_wandb

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_run):
    """The offline W&B run of a finished run."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        isolate_wandb(patch, folder)
        return export_folder(make_run(folder), mode=WandbMode.offline)


@pytest.fixture
def call(capsys):
    """Runs `medcritical wandb`; exit status, standard output and standard error."""

    def run(*arguments):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as exit_:  # of the parser
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def numbers(rows):
    """Of logged rows, those with metrics: no tables and no pictures."""
    return [row for row in rows if any(name.endswith("/step") or name == "iteration" for name in row)]


def test_the_run_is_the_cell(place):
    (header,) = of_kind(place, "run")
    assert (header.run_id, header.run_group, header.job_type) == ("demo-0123abcd", "dpo_self", "cell")
    assert (header.project, list(header.tags)) == ("medcritical", ["clinic"])
    config = items(header.config.update)
    assert config["selfplay"] == {"beta": 0.1}
    assert config["teacher"] == {"api_key": "[redacted]"}


def test_each_arm_is_one_curve_and_a_resumed_training_counts_once(place):
    rows = [row for row in history(place) if "sft/step" in row]
    assert [(row["sft/step"], row["sft/train/loss"]) for row in rows] == [
        (1, 2.0),
        (4, 1.0),
        (5, 0.5),
        (6, 0.4),
        (7, 0.4),
    ]
    assert axes(place)["dpo_self/train/margin"] == "dpo_self/step"
    assert [row["dpo_self/train/margin"] for row in history(place) if "dpo_self/train/margin" in row] == [0.1, 0.2]


def test_iterations_are_an_axis_that_starts_at_stage_1(place):
    rows = [row for row in history(place) if "iteration" in row]
    assert [row["iteration"] for row in rows] == [0, 1]
    assert [row["accuracy/clinic/test/dpo_self"] for row in rows] == [0.5, 0.6]
    assert rows[1]["slices/dpo_self/科室/外科"] == 0.4
    assert rows[1]["pairs/dpo_self/verified"] == 0.25
    assert rows[1]["pairs/dpo_self/pools/corrected"] == 3
    assert "pairs/dpo_self/sound_chosen" not in rows[1]  # unknown, which is not 0
    assert rows[1]["health/dpo_self/alarms"] == 2
    assert rows[1]["cost/dpo_self/student_tokens"] == 1_234_567
    named = axes(place)
    assert {named[name] for row in rows for name in row if name != "iteration"} == {"iteration"}


def test_samples_show_question_attempt_correction_and_verdict(place):
    rows = table(place, "samples")
    assert len(rows) == 2  # logger.samples
    assert rows[0]["question"] == "患者发热0天"
    assert rows[0]["options"] == "A 感冒\nB 肺炎"
    assert (rows[0]["attempt"], rows[0]["attempt outcome"]) == ("答案是A", "wrong")
    assert (rows[0]["insight"], rows[0]["correction"], rows[0]["verdict"]) == ("没有考虑病程", "答案是B", "right")
    assert rows[0]["artefact"] == "play/1"


def test_pairs_alarms_artefacts_and_the_machine_are_there(place):
    counts = {row["count"]: row["value"] for row in table(place, "pair_quality")}
    assert (counts["pairs"], counts["pools/solved"], counts["overlap"]) == (4, 6, 0.75)
    assert [row["alarm"] for row in table(place, "alarms")] == ["Format collapse.", "Early saturation."]
    assert {row["artefact"] for row in table(place, "artefacts")} >= {"sft/1", "dpo/1"}
    load = [row for row in history(place) if "system/step" in row]
    assert load == [{"system/step": 5.0, "system/cpu_percent": 50.0}, {"system/step": 10.0, "system/cpu_percent": 90.0}]


def test_a_torn_row_of_the_machine_is_left_out(finished_run):
    path = finished_run / "system.jsonl"
    before = describe_run(finished_run).series
    path.write_bytes(path.read_bytes() + b'{"step": 15.0, "cpu_pe')
    assert describe_run(finished_run).series == before


def test_sync_replays_a_run_that_had_no_wandb(finished_run, call):
    live = export_folder(finished_run, mode=WandbMode.offline)
    before = numbers(history(live))
    status, out, err = call(
        "sync", finished_run.parent, "--project", "paper", "--tag", "a", "--tag", "b", "--samples", 1
    )
    assert (status, out) == (0, "")
    assert "W&B run:" in err
    (replayed,) = finished_run.glob("wandb/offline-run-*")
    assert replayed != live
    (header,) = of_kind(replayed, "run")
    assert (header.run_id, header.project, list(header.tags)) == ("demo-0123abcd", "paper", ["a", "b"])
    assert len(table(replayed, "samples")) == 1

    assert len(before) == 11
    assert numbers(history(replayed)) == before


def test_a_sync_leaves_out_a_run_of_an_older_version(finished_run, call):
    old = finished_run.parent / "old"
    old.mkdir()
    (old / "summary.json").write_text('{"schema": 2, "rows": []}', encoding="utf-8")
    status, _, err = call("sync", finished_run.parent)
    assert status == 0
    assert f"an older version of medcritical wrote {old}, left out here" in err
    assert list(finished_run.glob("wandb/offline-run-*"))


def test_a_sync_of_many_waits_once_for_a_server_that_is_not_there(finished_run, call, monkeypatch, caplog):
    monkeypatch.setattr(wandb_export, "CONNECT_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    other = finished_run.parent / "demo-other"
    other.mkdir()
    for name in ("summary.json", "config.json"):
        (other / name).write_bytes((finished_run / name).read_bytes())
    assert call("sync", finished_run, other, "--online")[0] == 0
    assert len(list(finished_run.parent.glob("demo-*/wandb/offline-run-*"))) == 2
    assert len([record for record in caplog.records if record.name == wandb_export.__name__]) == 1


@pytest.fixture
def logged_in(monkeypatch):
    """Has W&B talk to a server of the test's own."""

    def use(server):
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    yield use
    wandb.teardown()  # its service goes on talking to the server otherwise


def test_what_is_sent_online_is_what_is_written_offline(finished_run, call, place, logged_in):
    with serve_wandb() as server:
        logged_in(server)
        status, _, err = call("sync", finished_run, "--online")
        assert status == 0, err
    opened = server.runs[0]
    assert (opened["name"], opened["groupName"], opened["jobType"]) == ("demo-0123abcd", "dpo_self", "cell")
    assert (opened["project"], opened["tags"]) == ("medcritical", ["clinic"])
    assert json.loads(opened["config"])["teacher"] == {"value": {"api_key": "[redacted]"}}
    rows = [json.loads(line) for line in server.lines["wandb-history.jsonl"]]
    sent = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]

    assert numbers(sent) == numbers(history(place))
    (samples,) = [content for name, content in server.uploads.items() if "/table/samples_" in name]
    assert json.loads(samples)["data"][0][2] == "患者发热0天"
    figures = {name.split("/")[-1].split("_")[0] for name in server.uploads if name.endswith(".png")}
    assert figures == {path.stem for path in finished_run.glob("*.png")}
    assert not any(b"s3cr3t" in content for content in server.uploads.values())


def test_a_server_that_stops_understanding_in_mid_run_costs_nothing(finished_run, call, logged_in, caplog):
    with serve_wandb(is_refusing=True) as server:
        logged_in(server)
        status, _, err = call("sync", finished_run, "--online")
    assert status == 0, err
    assert len(server.runs) > 0
    (written,) = finished_run.glob("wandb/offline-run-*")
    assert len(numbers(history(written))) == 11
    assert len([record for record in caplog.records if record.name == wandb_export.__name__]) == 1


def test_a_folder_without_configuration_is_refused(finished_run, call):
    (finished_run / "config.json").unlink()
    status, _, err = call("sync", finished_run)
    assert status == 2
    assert "has no config.json" in err


def test_arms_that_are_scored_once_have_panels_too(make_row, make_score):
    rows = [make_row(arm, stage="base", title=arm) for arm in ("taiyi", "qwen")]
    results = Results(rows=rows, scores={row.artefact: make_score() for row in rows})
    panels = make_sections(results)["Accuracy by iteration"]
    assert [panel.y for panel in panels] == [("accuracy/clinic/test/taiyi",), ("accuracy/clinic/test/qwen",)]


@pytest.mark.parametrize("arguments", [(), ("sync",), ("dashboard",), ("sync", ".", "--samples", "-1")])
def test_a_usage_error_is_one_line(call, arguments):
    status, out, err = call(*arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: ")


class TestDashboard:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("wandb_workspaces", reason="the extra `dashboards` is not installed")

    @pytest.fixture
    def content(self, finished_run, call):
        status, out, _ = call("dashboard", "team/medcritical", finished_run, "--json")
        assert status == 0
        return json.loads(out)

    def test_workspace_has_the_panels_over_the_metrics_that_runs_have(self, content, place):
        sections = content["workspace"]["section"]["panelBankConfig"]["sections"]
        panels = {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}
        assert list(panels) == [
            "Accuracy by iteration",
            "Margin",
            "Log-probabilities",
            "Cost",
            "Slices",
            "Pairs",
            "Health",
        ]
        (accuracy,) = panels["Accuracy by iteration"]
        assert (accuracy["xAxis"], accuracy["metrics"]) == ("iteration", ["accuracy/clinic/test/dpo_self"])
        assert (accuracy["groupBy"], accuracy["aggregate"]) == ("config:selfplay.value.beta", True)
        assert panels["Log-probabilities"][0]["metrics"] == [
            "dpo_self/train/chosen_logp",
            "dpo_self/train/rejected_logp",
        ]
        logged = axes(place)
        for drawn in (config for configs in panels.values() for config in configs):
            for metric in drawn["metrics"]:
                assert logged[metric] == drawn["xAxis"]

    def test_report_has_the_tables_and_the_same_panels(self, content):
        blocks = content["report"]["blocks"]
        texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
        assert any("自我纠错" in text and "| 60.0 |" in text.replace("  ", " ") for text in texts)
        grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
        assert len(grids) == 7
        assert grids[0]["panelBankSectionConfig"]["panels"][0]["config"]["metrics"] == ["accuracy/clinic/test/dpo_self"]

    def test_the_runs_are_those_in_outputs_unless_others_are_named(self, finished_run, call, content, monkeypatch):
        folder = finished_run.parent
        monkeypatch.chdir(folder)
        status, out, err = call("dashboard", "team/medcritical", "--json")
        assert (status, out) == (2, "")
        assert err.startswith("error: there is no folder outputs;")
        finished_run.rename(folder / "outputs")
        status, out, _ = call("dashboard", "team/medcritical", "--json")
        found = json.loads(out)["workspace"]["section"]["panelBankConfig"]["sections"]
        asked_for = content["workspace"]["section"]["panelBankConfig"]["sections"]
        assert status == 0
        assert [[panel["config"] for panel in section["panels"]] for section in found] == [
            [panel["config"] for panel in section["panels"]] for section in asked_for
        ]

    @pytest.mark.parametrize("place", ["medcritical", "a/b/c", "/b", "a/"])
    def test_a_place_that_is_none_is_refused(self, finished_run, call, place):
        status, _, err = call("dashboard", place, finished_run, "--json")
        assert status == 2
        assert "ENTITY/PROJECT" in err

    def test_publishing_without_login_says_so(self, finished_run, call):
        status, out, err = call("dashboard", "team/medcritical", finished_run)
        assert (status, out) == (2, "")
        assert "--json" in err

    def test_publishing_saves_what_json_prints(self, finished_run, call, content, logged_in):
        with serve_wandb() as server:
            logged_in(server)
            status, out, _ = call("dashboard", "team/medcritical", finished_run)
        assert status == 0
        addresses = [urlsplit(line).path for line in out.splitlines()]
        assert addresses == ["/team/medcritical", "/team/medcritical/reports/MedCritical--View2"]
        workspace, report = server.views
        for view in (workspace, report):
            assert (view["entityName"], view["projectName"], view["displayName"]) == (
                "team",
                "medcritical",
                "MedCritical",
            )
        saved = json.loads(report["spec"])["blocks"]
        assert [block["type"] for block in saved] == [block["type"] for block in content["report"]["blocks"]]
        names = [section["name"] for section in json.loads(workspace["spec"])["section"]["panelBankConfig"]["sections"]]
        assert names[0] == "Accuracy by iteration"

    def test_a_server_that_refuses_is_one_sentence(self, finished_run, call, logged_in):
        with serve_wandb(is_refusing=True) as server:
            logged_in(server)
            status, out, err = call("dashboard", "team/medcritical", finished_run)
        assert (status, out) == (2, "")
        assert "W&B did not take the dashboard" in err

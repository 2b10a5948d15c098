"""What is said of rows that were not made alike. Every sentence is worked out by hand."""

import msgspec
import pytest

from medcritical.reporting.environments import describe_differences, environment_notes
from medcritical.reporting.summary import LedgerEntry
from medcritical.store import ArtefactRef, Costs, Environment, Manifest, write_json

ENVIRONMENT = Environment(
    commit="a" * 40,
    python="3.11.7",
    packages={"torch": "2.13.0", "deepspeed": None},
    devices=("NVIDIA H200",),
    ranks=4,
    strategy="ddp",
    arithmetic="bfloat16 autocast",
)


def made(stage="dpo", key="1", inputs=None, version="0.1.0", **changes):
    """A manifest whose environment differs in `changes` from ENVIRONMENT; `environment=None` has none."""
    environment = (
        changes["environment"] if "environment" in changes else msgspec.structs.replace(ENVIRONMENT, **changes)
    )
    return Manifest(
        schema=2,
        ref=ArtefactRef(stage=stage, key=key),
        version=1,
        config={},
        inputs={
            role: ArtefactRef(stage=name.split("/")[0], key=name.split("/")[1]) for role, name in (inputs or {}).items()
        },
        files={},
        facts={},
        costs=Costs(),
        created="",
        medcritical=version,
        environment=environment,
    )


@pytest.fixture
def rows(make_row):
    return [make_row("base"), make_row("sft"), make_row("dpo_self", 1), make_row("rejection_sft", 1)]


def test_rows_that_were_made_alike_say_nothing(rows):
    assert describe_differences(rows, [[made(), made("sft")]] * 4) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"packages": {"torch": "2.12.0"}}, "torch 2.12.0 (rejection_sft), 2.13.0 (the others)"),
        ({"packages": {"deepspeed": "0.19"}}, "deepspeed 0.19 (rejection_sft), not installed (the others)"),
        ({"commit": "b" * 40}, f"commit {'b' * 12} (rejection_sft), {'a' * 12} (the others)"),
        ({"commit": "a" * 40 + " modified"}, f"commit {'a' * 12} modified (rejection_sft), {'a' * 12} (the others)"),
        ({"commit": None}, f"commit none (rejection_sft), {'a' * 12} (the others)"),
        ({"python": "3.12.0"}, "Python 3.12.0 (rejection_sft), 3.11.7 (the others)"),
        ({"version": "0.2.0"}, "medcritical 0.2.0 (rejection_sft), 0.1.0 (the others)"),
        ({"devices": ("A100",)}, "device A100 (rejection_sft), NVIDIA H200 (the others)"),
        ({"ranks": 8}, "ranks in training 8 (rejection_sft), 4 (the others)"),
        ({"strategy": "zero2"}, "strategy in training zero2 (rejection_sft), ddp (the others)"),
        ({"arithmetic": "float32"}, "arithmetic in training float32 (rejection_sft), bfloat16 autocast (the others)"),
    ],
)
def test_each_trait_has_its_sentence(rows, changes, expected):
    assert describe_differences(rows, [[made()]] * 3 + [[made(**changes)]]) == [f"environments differ: {expected}"]


def test_a_server_is_compared_with_itself(rows):
    """Teacher and student are asked of different servers, which is no difference; the teacher's other version is."""
    servers = {"student": "0.11.0", "teacher": "llama.cpp b1"}
    other = {**servers, "teacher": "llama.cpp b2"}
    said = describe_differences(rows, [[made(servers=servers)]] * 3 + [[made(servers=other)]])
    assert said == ["environments differ: server of teacher llama.cpp b2 (rejection_sft), llama.cpp b1 (the others)"]


def test_a_server_that_nobody_asked_what_it_is_differs_from_none(rows):
    """All its answers were on disk: there is no version to compare."""
    asked, kept = made(servers={"student": "0.11.0"}), made(servers={"student": "unknown"})
    assert describe_differences(rows, [[asked]] * 3 + [[kept]]) == []


def test_what_all_rows_share_may_differ_within_them(rows):
    """Stage 1 under one torch and what comes after under another: the untrained student has one of them only."""
    old, new = made("sft", packages={"torch": "2.12.0"}), made("dpo", packages={"torch": "2.13.0"})
    said = describe_differences(rows, [[new], [old, new], [old, new], [old, new]])
    assert said == ["environments differ: torch 2.13.0 (base), 2.12.0 and 2.13.0 (the others)"]
    assert describe_differences(rows, [[old, new]] * 4) == ["environments differ: torch 2.12.0 and 2.13.0 (all rows)"]


def test_training_and_answering_may_compute_differently(rows):
    answers = made("evaluate", arithmetic="bfloat16 weights", ranks=1, strategy="")
    assert describe_differences(rows, [[answers]] + [[made(), answers]] * 3) == []


def test_stages_that_run_no_model_have_no_ranks_to_compare(rows):
    pairs = made("pair", devices=(), ranks=1, strategy="", arithmetic="")
    assert describe_differences(rows, [[made(), pairs]] * 4) == []


def test_seeds_and_iterations_are_named_where_an_arm_is_divided(make_row):
    rows = [make_row("dpo_self", iteration, seed=seed) for seed in (0, 1) for iteration in (1, 2)] + [make_row("sft")]
    made_of = [[made()], [made()], [made()], [made(devices=("A100",))], [made()]]
    expected = "environments differ: device A100 (dpo_self iteration 2 seed 1), NVIDIA H200 (the others)"
    assert describe_differences(rows, made_of) == [expected]


def test_many_names_are_cut(make_row):
    rows = [make_row(f"arm{number}", 1) for number in range(18)]
    made_of = [[made(ranks=1)]] * 8 + [[made()]] * 10
    expected = "ranks in training 1 (arm0, arm1, arm2, arm3, arm4, arm5 and 2 more), 4 (the others)"
    assert describe_differences(rows, made_of) == [f"environments differ: {expected}"]


def test_rows_of_several_runs_are_told_apart(make_row):
    rows = [make_row("sft", run="one"), make_row("sft", run="two")]
    expected = "environments differ: Python 3.11.7 (one:sft), 3.12 (two:sft)"
    assert describe_differences(rows, [[made()], [made(python="3.12")]]) == [expected]


def test_old_manifests_are_unknown_and_compared_with_nothing(rows):
    said = describe_differences(rows, [[made()], [made(environment=None)], [made(), None], [made()]])
    assert said == ["environments unknown: artefacts of an older version, or gone (sft, dpo_self)"]


def test_manifests_are_followed_to_all_that_a_row_was_made_from(make_results, make_row, tmp_path):
    """But for what a training was only measured against."""
    rows = [make_row("sft", artefact="evaluate/1"), make_row("dpo_self", 1, artefact="evaluate/2")]
    manifests = [
        made("evaluate", "1", {"checkpoint": "sft/1"}),
        made("evaluate", "2", {"checkpoint": "dpo/1"}),
        made("dpo", "1", {"checkpoint": "sft/1", "target": "dpo/2"}),
        made("sft", "1", ranks=2),
        made("dpo", "2", ranks=64),
    ]
    for manifest in manifests:
        write_json(tmp_path / str(manifest.ref) / "manifest.json", manifest)
    results = make_results(rows, spent={"evaluate/2": {"dpo/1": LedgerEntry(stage="dpo", costs=Costs())}})
    results.folders = {str(manifest.ref): tmp_path / str(manifest.ref) for manifest in manifests}
    assert environment_notes(results) == [
        "environments differ: ranks in training 2 (sft), 2 and 4 (dpo_self)",
    ]


def test_a_manifest_of_schema_1_is_read(tmp_path):
    """As stores from before environments have it: the field is not there at all."""
    plain = msgspec.to_builtins(made())
    del plain["environment"]
    old = msgspec.json.decode(msgspec.json.encode({**plain, "schema": 1}), type=Manifest)
    assert (old.schema, old.environment) == (1, None)

"""Keys, manifests, costs: what an artefact is known by and what it tells."""

import errno
import hashlib
import json
from pathlib import Path

import builder
import pytest

from medcritical.errors import ArtefactError
from medcritical.store import ArtefactRef, Costs, Store, write_json
from medcritical.store.artefact import MANIFEST, artefact_key
from medcritical.store.hashing import derive_seed, hash_json


def make(store: Store, stage: str, inputs: dict[str, ArtefactRef], tokens: int = 0) -> ArtefactRef:
    ref = ArtefactRef(stage=stage, key=artefact_key(stage, 1, {}, inputs))
    with store.lock(ref), store.build(ref) as folder:
        (folder / "x.txt").write_text(stage, encoding="utf-8")
        store.complete(
            ref, version=1, config={}, inputs=inputs, facts={}, costs=Costs(student_tokens=tokens, seconds=1)
        )
    return ref


def test_a_key_is_known_by_everything_that_goes_in() -> None:
    other = ArtefactRef(stage="sft", key="0" * 64)
    keys = {
        artefact_key("pair", 1, {"a": 1, "b": 2}, {}),
        artefact_key("play", 1, {"a": 1, "b": 2}, {}),
        artefact_key("pair", 2, {"a": 1, "b": 2}, {}),
        artefact_key("pair", 1, {"a": 2, "b": 1}, {}),
        artefact_key("pair", 1, {"a": 1, "b": 2}, {"policy": other}),
        artefact_key("pair", 1, {"a": 1, "b": 2}, {"corrector": other}),
        artefact_key("pair", 1, {"a": 1, "b": 2}, {"policy": ArtefactRef(stage="sft", key="1" * 64)}),
    }
    assert len(keys) == 7
    assert artefact_key("pair", 1, {"b": 2, "a": 1}, {}) in keys


def test_a_key_is_the_same_for_ever() -> None:
    """A changed hash would make every finished artefact of every user unknown: raise a stage's version instead."""
    text = '["a",{"ü":[1,0.5,null,true]}]'
    assert hash_json(["a", {"ü": [1, 0.5, None, True]}]) == hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert artefact_key("pair", 1, {"seed": 0}, {}) == hashlib.sha256(b'[2,"pair",1,{"seed":0},{}]').hexdigest()


def test_numbers_that_are_no_json_have_no_hash() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        hash_json(float("nan"))


def test_seeds_differ_by_use_and_stay_in_range() -> None:
    seeds = [
        derive_seed(root, *names) for root in (0, 1) for names in (("play",), ("play", 1), ("play", 2), ("pair", 1))
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(0, "play", 1) == derive_seed(0, "play", 1)
    assert derive_seed(0, "play", 1) != derive_seed(0, "play", "1")


def test_an_artefact_without_a_manifest_is_not_there(store: Store, ref: ArtefactRef) -> None:
    with store.lock(ref), store.build(ref) as folder:
        (folder / "x.txt").write_text("x", encoding="utf-8")
        assert not store.is_complete(ref)
    assert not store.is_complete(ref)
    with pytest.raises(ArtefactError, match=MANIFEST):
        store.manifest(ref)


def test_building_clears_what_a_killed_stage_left(store: Store, ref: ArtefactRef) -> None:
    store.folder(ref).mkdir(parents=True)
    (store.folder(ref) / "leftover.txt").write_text("x", encoding="utf-8")
    with store.lock(ref), store.build(ref) as folder:
        assert list(folder.iterdir()) == []


def test_a_failed_stage_leaves_no_folder_and_its_own_error(store: Store, ref: ArtefactRef) -> None:
    def fail(point: str) -> None:
        if point == "all files":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        builder.make(store, ref, reach=fail)
    assert not store.folder(ref).exists()


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_is_gone_or_cut_makes_the_artefact_incomplete(store: Store, damage: str) -> None:
    ref = make(store, "pair", {})
    assert store.is_complete(ref)
    path = store.folder(ref) / "x.txt"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("pai", encoding="utf-8")
    assert not store.is_complete(ref)


def test_the_manifest_of_another_artefact_is_refused(store: Store) -> None:
    ref = make(store, "pair", {})
    twin = ArtefactRef(stage="pair", key=ref.key[:16] + "f" * 48)
    with pytest.raises(ArtefactError, match="move it away"):
        store.is_complete(twin)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 1}'])
def test_a_damaged_manifest_is_named(store: Store, content: bytes) -> None:
    ref = make(store, "pair", {})
    (store.folder(ref) / MANIFEST).write_bytes(content)
    with pytest.raises(ArtefactError, match=MANIFEST):
        store.manifest(ref)
    other = make(store, "play", {})
    assert [manifest.ref for manifest in store.manifests()] == [other], "it hinders nobody who needs others"
    assert not store.is_complete(ref)
    builder.make(store, ref)
    assert store.is_complete(ref)


def test_a_manifest_that_the_disk_refuses_is_not_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = make(store, "pair", {})
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ArtefactError, match=f"cannot read {store.folder(ref)}: .*Input/output error"):
        store.is_complete(ref)


def refuse(path: Path) -> bytes:
    raise OSError(errno.EIO, "Input/output error", str(path))


def test_manifests_that_are_removed_meanwhile_are_left_out(store: Store) -> None:
    """As by a prune at work: found, and gone when it is read."""
    refs = [make(store, stage, {}) for stage in ("pair", "play", "sft")]
    reading = store.manifests()
    first = next(reading)
    for ref in refs:
        store.discard(ref)
    assert [first, *reading] == [first]


def test_a_manifest_tells_what_made_it(store: Store) -> None:
    first = make(store, "play", {})
    told = json.loads((store.folder(make(store, "pair", {"play": first})) / MANIFEST).read_text(encoding="utf-8"))
    assert told["inputs"] == {"play": {"stage": "play", "key": first.key}}
    assert told["files"] == {"x.txt": {"bytes": 4, "sha256": hashlib.sha256(b"pair").hexdigest()}}


def test_costs_count_every_ancestor_once_and_no_target(store: Store) -> None:
    base = make(store, "student", {}, tokens=1)
    left, right = make(store, "sft", {"checkpoint": base}, tokens=10), make(store, "play", {"policy": base}, tokens=100)
    both = make(store, "dpo", {"checkpoint": left, "pairs": right}, tokens=1000)
    assert store.total_costs(both) == Costs(student_tokens=1111, seconds=4)
    matched = make(store, "dpo", {"checkpoint": left, "target": both}, tokens=2000)
    assert store.total_costs(matched) == Costs(student_tokens=2011, seconds=3)


def test_a_manifest_from_before_prompts_were_counted_still_reads(store: Store) -> None:
    ref = make(store, "play", {})
    path = store.folder(ref) / MANIFEST
    old = json.loads(path.read_text(encoding="utf-8"))
    old["costs"] = {"teacher_tokens": 0, "student_tokens": 7, "seconds": 2.5}
    path.write_text(json.dumps(old), encoding="utf-8")
    assert store.manifest(ref).costs == Costs(student_tokens=7, seconds=2.5)


def test_costs_add_up_and_nothing_costs_nothing() -> None:
    first = Costs(teacher_tokens=1, judge_tokens=2, retries=3, seconds=0.5)
    second = Costs(teacher_tokens=10, student_prompt_tokens=20, seconds=1.0)
    together = Costs(teacher_tokens=11, student_prompt_tokens=20, judge_tokens=2, retries=3, seconds=1.5)
    assert Costs.sum([first, second]) == together
    assert Costs.sum([]) == Costs()


def test_discard_takes_the_manifest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in between must not leave a manifest that promises files which are gone."""
    ref = make(store, "pair", {})
    seen: list[bool] = []
    monkeypatch.setattr("shutil.rmtree", lambda folder: seen.append((Path(folder) / MANIFEST).exists()))
    store.discard(ref)
    assert seen == [False]


def test_json_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"题": ["a"]})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "题": [\n    "a"\n  ]\n}\n'

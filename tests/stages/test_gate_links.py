"""A gate's artefact is a checkpoint like any other, though its files are links: also of an adapter, which names its base."""

import json
from pathlib import Path

from medcritical.modeling.record import ADAPTER_CONFIG, ADAPTER_FOLDER, Checkpoint, find_weights, write_checkpoint
from medcritical.stages.gate import BEST, _link


def test_a_linked_adapter_lies_over_the_same_base(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "student" / "0", Checkpoint(model="owner/model", revision="abc"))
    policy = tmp_path / "dpo" / "1"
    (policy / ADAPTER_FOLDER).mkdir(parents=True)
    (policy / ADAPTER_FOLDER / "adapter_model.safetensors").write_bytes(b"1")
    (policy / "manifest.json").touch()
    write_checkpoint(policy, Checkpoint(adapter=ADAPTER_FOLDER, base="../../student/0"))
    config = policy / ADAPTER_FOLDER / ADAPTER_CONFIG
    config.write_text('{"r": 8, "base_model_name_or_path": "../../../student/0/model"}', encoding="utf-8")
    gate = tmp_path / "gate" / "2"
    for target in (gate, gate / BEST):
        _link(policy, target)
        weights = find_weights(target)
        assert (weights.model, weights.revision, weights.is_local) == ("owner/model", "abc", False)
        assert weights.adapters == (target / ADAPTER_FOLDER,)
        linked, own = (target / ADAPTER_FOLDER / name for name in ("adapter_model.safetensors", ADAPTER_CONFIG))
        assert linked.samefile(policy / ADAPTER_FOLDER / "adapter_model.safetensors")
        named = json.loads(own.read_text(encoding="utf-8"))
        assert named["r"] == 8
        assert (own.parent / named["base_model_name_or_path"]).resolve() == tmp_path / "student" / "0" / "model"
        assert not (target / "manifest.json").exists()
    assert "../../../student/0/model" in config.read_text(encoding="utf-8"), "the policy's own is as it was"
    _link(gate, tmp_path / "gate" / "3")
    assert not (tmp_path / "gate" / "3" / BEST).exists()
    assert find_weights(tmp_path / "gate" / "3").model == "owner/model"

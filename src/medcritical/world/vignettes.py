"""Procedural vignettes: what `prepare` writes for the clinic.

Every split is an endless seeded stream of which the first so many questions are taken: asking for more keeps the first.
No two splits share a set of findings, and no split needs to know the others for it: the findings themselves say, by
their checksum, which split they belong to.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice

from medcritical.config.schema import SplitSizes, WorldConfig
from medcritical.errors import ConfigError
from medcritical.records import LETTERS, Question, Split
from medcritical.world.case import KINDS, Case, Vignette, write_stem
from medcritical.world.knowledge import KnowledgeBase, load_knowledge

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
MIN_KEY_FINDINGS, MAX_KEY_FINDINGS = 2, 4
RELEVANT_HISTORY = 0.75  # chance that the history gets an entry that forbids the first or second drug
MAX_FRUITLESS_DRAWS = 20_000  # in a row; the hard world needs about 5 a question


def generate_questions(world: WorldConfig, sizes: SplitSizes, seed: int) -> list[Question]:
    """The clinic's questions, train then dev then test. The k-th of a split depends on world, seed, split and k alone.

    Raises:
        ConfigError: a size is null, or the world allows too few different vignettes.
    """
    wanted = {"train": sizes.train, "dev": sizes.dev, "test": sizes.test}
    questions: list[Question] = []
    for split in SPLITS:
        size = wanted[split]
        if size is None:
            raise ConfigError(f"data.sizes.{split} is null, but the clinic has no end of questions; give a number")
        questions += islice(stream_questions(load_knowledge(), world, split, seed), size)
    return questions


def stream_questions(knowledge: KnowledgeBase, world: WorldConfig, split: Split, seed: int) -> Iterator[Question]:
    """Endless questions of one split, no two with the same kind, findings and history.

    Raises:
        ConfigError: the world's settings contradict each other, or no further vignette was found.
    """
    _require_possible(world)
    rng = random.Random(f"{seed} {split}")
    seen: set[Vignette] = set()
    fruitless = 0
    while fruitless < MAX_FRUITLESS_DRAWS:
        case = _draw_case(rng, knowledge, world, split)
        if case is None or case.vignette in seen:
            fruitless += 1
            continue
        fruitless = 0
        options = _draw_options(rng, knowledge, world, case)
        yield _ask(case, options, world, seed, split, number=len(seen))
        seen.add(case.vignette)
    raise ConfigError(
        f"the clinic world {world.name!r} gave {len(seen)} {split} questions and then none in {fruitless} draws; "
        "lower data.world.posterior_min or data.sizes, or allow more noise"
    )


def _require_possible(world: WorldConfig) -> None:
    if world.noise_min > world.noise_max:
        raise ConfigError(f"data.world.noise_min {world.noise_min} is above noise_max {world.noise_max}")
    if world.diagnosis + world.test + world.treatment <= 0:
        raise ConfigError("data.world: the shares of diagnosis, test and treatment are all 0; give one of them a share")


def _draw_case(rng: random.Random, knowledge: KnowledgeBase, world: WorldConfig, split: Split) -> Case | None:
    """One draw; None when it is not a fair question or belongs to another split."""
    name = rng.choice(tuple(knowledge.conditions))
    key = _draw_key_findings(rng, knowledge, name, world.hallmark_shown)
    if not MIN_KEY_FINDINGS <= len(key) <= MAX_KEY_FINDINGS:
        return None
    own = knowledge.likelihoods[name]
    foreign = [finding for finding in knowledge.findings if finding not in own]
    findings = key + rng.sample(foreign, rng.randint(world.noise_min, world.noise_max))
    if _split_of(findings) != split or not _is_diagnosable(knowledge, name, findings, world.posterior_min):
        return None
    kind = rng.choices(KINDS, (world.diagnosis, world.test, world.treatment))[0]
    history = _draw_history(rng, knowledge, name) if kind == "treatment" else ()
    condition = knowledge.conditions[name]
    if all(knowledge.forbidding_flag(drug, history) for drug in condition.drugs):
        return None
    rng.shuffle(findings)
    return Case(
        kind=kind,
        condition=name,
        findings=tuple(findings),
        key_findings=tuple(finding for finding in findings if finding in own),
        history=history,
        drug_chain=knowledge.drug_chain(name, history),
        test=condition.test,
    )


def _draw_key_findings(rng: random.Random, knowledge: KnowledgeBase, name: str, hallmark_shown: float) -> list[str]:
    """Each finding by its typicality, but hallmarks as often as the world wants: this is what makes it hard."""
    hallmarks = knowledge.conditions[name].hallmark
    shown = (
        (finding, hallmark_shown if finding in hallmarks else p) for finding, p in knowledge.likelihoods[name].items()
    )
    return [finding for finding, probability in shown if rng.random() < probability]


def _split_of(findings: Iterable[str]) -> Split:
    """The one split that may show this set of findings. A checksum, not `hash`: the same in every process."""
    return SPLITS[zlib.crc32(" ".join(sorted(findings)).encode()) % len(SPLITS)]


def _is_diagnosable(knowledge: KnowledgeBase, name: str, findings: list[str], posterior_min: float) -> bool:
    """True when the condition is strictly the most probable one and probable enough: one option is right."""
    posterior = knowledge.posterior(findings)
    own = posterior.pop(name)
    return own >= posterior_min and own > max(posterior.values(), default=0.0)


def _draw_history(rng: random.Random, knowledge: KnowledgeBase, name: str) -> tuple[str, ...]:
    """At most one entry at random, and mostly one that forbids a drug the answer turns on."""
    first_drugs = knowledge.conditions[name].drugs[:2]
    relevant = [flag for flag in knowledge.flags if not set(first_drugs).isdisjoint(knowledge.contraindications[flag])]
    history = rng.sample(knowledge.flags, rng.randint(0, 1))
    if relevant and rng.random() < RELEVANT_HISTORY:
        history.append(rng.choice(relevant))
    history = list(dict.fromkeys(history))
    rng.shuffle(history)
    return tuple(history)


def _draw_options(rng: random.Random, knowledge: KnowledgeBase, world: WorldConfig, case: Case) -> dict[str, str]:
    """Letter to text: the right option and the most tempting wrong ones, shuffled."""
    tempting = (text for text in _rank_distractors(rng, knowledge, case) if text != case.conclusion)
    texts = [case.conclusion, *islice(dict.fromkeys(tempting), world.options - 1)]
    if len(texts) < world.options:
        raise ConfigError(
            f"data.world.options is {world.options}, but only {len(texts)} different ones exist; lower it"
        )
    rng.shuffle(texts)
    return dict(zip(LETTERS, texts, strict=False))


def _rank_distractors(rng: random.Random, knowledge: KnowledgeBase, case: Case) -> list[str]:
    """Wrong options, the most tempting first; the right one and repeats may be among them.

    Conditions of the same system and those that explain the noise come first. A treatment is also confused with the
    condition's own drugs (the forbidden first choice among them) and with the drugs of the two nearest conditions.
    """
    conditions, system = knowledge.conditions, knowledge.conditions[case.condition].system
    near = [name for name in conditions if name != case.condition and conditions[name].system == system]
    far = [name for name in conditions if conditions[name].system != system]
    rng.shuffle(near)
    rng.shuffle(far)
    likelihoods = knowledge.likelihoods
    noise = case.ignored_findings
    explaining = sorted(far, key=lambda name: -sum(likelihoods[name].get(finding, 0.0) for finding in noise))[:2]
    names = near[:2] + explaining + near[2:] + far
    if case.kind == "diagnosis":
        return names
    if case.kind == "test":
        return [conditions[name].test for name in names]
    nearest = [knowledge.drug_chain(name, case.history)[-1][0] for name in explaining[:1] + near[:1]]
    return [*conditions[case.condition].drugs, *nearest, *(conditions[name].drugs[0] for name in names)]


def _ask(case: Case, options: dict[str, str], world: WorldConfig, seed: int, split: Split, number: int) -> Question:
    return Question(
        id=f"clinic-{seed}-{split}-{number:06d}",
        stem=write_stem(case),
        options=options,
        answer=next(letter for letter, text in options.items() if text == case.conclusion),
        language="en",
        split=split,
        source="clinic",
        meta=case.to_meta(),
    )

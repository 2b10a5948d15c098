import shutil
import subprocess

import pytest

from medcritical.reporting.latex import document, escape, to_latex
from medcritical.reporting.tables import Table

HARD = Table(
    ("arm", "accuracy %", "95 % interval", "difference", "n"),
    (
        ("SFT_a & b # {c} $x$ 50% \\ ~ ^", "50.0", "[43.0, 57.0]", None, "200"),
        ("MedCritical (β 0.1)", "61.2 ± 1.3", "43.0 … 57.0", "+10.0***", "3 × 200"),
        ("[in brackets]", "-1.0", "<0.001**", "−2", "a < b > c | d – e → f ≥ g"),
    ),
    ("note: 100 % of A & B; * < 0.05",),
)


def test_every_special_character_is_escaped():
    assert escape("a_b & 50% #1 {x} $") == r"a\_b \& 50\% \#1 \{x\} \$"
    assert escape("<0.001***") == r"\textless{}0.001$^{***}$"
    assert escape("61.2 ± 1.3") == r"61.2 $\pm$ 1.3"
    assert escape("a\nb") == "a b"


def test_a_table_is_booktabs_and_missing_is_a_dash():
    latex = to_latex(HARD, "Arms & data", "tab:main")
    for part in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\caption{Arms \& data}",
        r"\label{tab:main}",
        "{@{}lrrrr@{}}",
    ):
        assert part in latex
    first = next(line for line in latex.splitlines() if line.startswith(r"SFT\_a"))
    assert first.endswith(r" & -- & 200 \\")
    assert r"{}[in brackets] &" in latex


def test_chinese_asks_for_the_class_that_has_it():
    chinese = to_latex(Table(("arm",), (("自我纠错",),)), "c", "l")
    assert "ctexart" in document({"main": chinese})
    assert "ctexart" not in document({"main": to_latex(HARD, "c", "l")})


CHINESE = Table(("arm", "accuracy %"), (("自我纠错", "61.2 ± 1.3***"), ("监督微调", None)), ("注：三个种子",))


@pytest.mark.parametrize(
    ("compiler", "needs", "table"), [("pdflatex", "booktabs.sty", HARD), ("xelatex", "ctexart.cls", CHINESE)]
)
def test_it_compiles(compiler, needs, table, tmp_path):
    if shutil.which(compiler) is None or not shutil.which("kpsewhich"):
        pytest.skip(f"no LaTeX on this machine: {compiler} is not installed")
    if subprocess.run(["kpsewhich", needs], capture_output=True).returncode:
        pytest.skip(f"this machine's LaTeX has no {needs}")
    text = document({name: to_latex(table, f"Table {name}", f"tab:{name}") for name in ("a", "b")})
    (tmp_path / "report.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "report.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "2 pages" in done.stdout
    assert "Missing character" not in (tmp_path / "report.log").read_text(encoding="utf-8", errors="replace")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")

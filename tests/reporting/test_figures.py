import logging
import math
import subprocess
import sys
from itertools import combinations, pairwise

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from medcritical.records import Slice, Tally
from medcritical.reporting import fonts
from medcritical.reporting.bars import assign_bars, slice_figure
from medcritical.reporting.drawing import assign_looks, new_figure, spread_labels, styled
from medcritical.reporting.figures import accuracy_figure, accuracy_lines, split_panels
from medcritical.reporting.measuring import PredictionReader, measure_intervals
from medcritical.reporting.pooling import checkpoint_of, pool_seeds
from medcritical.reporting.trajectories import Curve, curves_figure, mean_rows


@pytest.fixture
def rows(make_row):
    sft = [make_row("base", num_correct=50), make_row()]
    return sft + [make_row(arm, i, 100 + step * i) for arm, step in (("dpo", 12), ("rs", 5)) for i in (1, 2)]


def curves(title="DPO", with_rejected=True):
    def row(step):
        both = {"train/rejected_logp": -9.0 - step, "train/margin": 0.1 * step, "train/reward_accuracy": 0.9}
        return {"step": step, "train/chosen_logp": -5.0 - step, **(both if with_rejected else {})}

    return [Curve(title, iteration, [row(step) for step in range(1, 6)]) for iteration in (2, 1)]


def draw_accuracy(rows, *paths):
    """The figure with the intervals that a report of the rows has."""
    pools = pool_seeds(rows)
    accuracy_figure(pools, measure_intervals(pools, PredictionReader({}), 0.95), *paths)


def picture(path):
    return matplotlib.image.imread(path)


class TestLines:
    def test_arms_start_from_the_stage_1_checkpoint(self, rows):
        lines = accuracy_lines(pool_seeds(rows))
        assert [line.label for line in lines] == ["DPO", "RS"]
        assert {line.start.title for line in lines} == {"SFT"}
        assert [pool.checkpoint.iteration for pool in lines[0].points] == [1, 2]

    def test_a_vote_of_the_stage_1_model_starts_nothing(self, rows, make_row):
        lines = accuracy_lines(pool_seeds([*rows, make_row("vote", stage="sft"), make_row("published", stage="base")]))
        assert {line.label: line.start and line.start.title for line in lines} == {
            "VOTE": None,
            "DPO": "SFT",
            "RS": "SFT",
        }

    def test_stage_1_alone_is_a_line(self, make_row):
        (line,) = accuracy_lines(pool_seeds([make_row("base"), make_row()]))
        assert (line.label, line.start, len(line.points)) == ("SFT", None, 1)

    def test_labels_name_beta_and_run_where_they_differ(self, make_row):
        rows = [make_row("dpo", 1, beta=0.1), make_row("dpo", 1, beta=0.5), make_row("rs", 1)]
        assert [line.label for line in accuracy_lines(pool_seeds(rows))] == ["DPO, beta 0.1", "DPO, beta 0.5", "RS"]
        rows = [make_row("dpo", 1), make_row("dpo", 1, run="other", artefact="score/other")]
        assert [line.label for line in accuracy_lines(pool_seeds(rows))] == ["DPO (demo)", "DPO (other)"]

    def test_a_line_of_several_runs_is_there_once(self, make_row):
        rows = [make_row(arm, int(arm == "dpo"), run=run) for run in ("one", "two") for arm in ("sft", "dpo")]
        rows += [make_row(run="three"), make_row("rs", 1, run="two")]
        assert [line.label for line in accuracy_lines(pool_seeds(rows))] == ["DPO (one)", "RS (two)"]


class TestLabelPlaces:
    def test_what_is_apart_stays(self):
        assert spread_labels([3.0, 1.0, 2.0], 1.0) == [3.0, 1.0, 2.0]

    def test_what_touches_moves_apart_around_its_mean(self):
        assert spread_labels([1.0, 1.2], 1.0) == pytest.approx([0.6, 1.6])
        assert spread_labels([5.0, 5.0, 5.0], 2.0) == pytest.approx([3.0, 5.0, 7.0])

    def test_moving_can_push_the_next_block(self):
        moved = spread_labels([0.0, 0.1, 0.9, 5.0], 1.0)
        assert moved[3] == 5.0
        assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in pairwise(moved))


class TestAccuracyFigure:
    def test_is_a_png_of_150_dpi_without_software_or_time(self, rows, tmp_path):
        from PIL import Image

        draw_accuracy(rows, tmp_path / "accuracy.png")
        with Image.open(tmp_path / "accuracy.png") as image:
            assert image.size == (1020, 660)
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert set(image.info) == {"dpi"}

    def test_same_rows_give_the_same_bytes(self, rows, tmp_path):
        draw_accuracy(rows, tmp_path / "a.png")
        with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30}):  # a user's own style changes nothing
            draw_accuracy(rows, tmp_path / "b.png")
            assert matplotlib.rcParams["font.size"] == 30
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_another_accuracy_is_another_picture(self, rows, make_row, tmp_path):
        draw_accuracy(rows, tmp_path / "a.png")
        draw_accuracy([*rows[:-1], make_row("rs", 2, 140)], tmp_path / "b.png")
        assert not np.array_equal(picture(tmp_path / "a.png"), picture(tmp_path / "b.png"))

    def test_bars_are_the_intervals_of_the_tables_and_none_where_there_is_none(self, rows, tmp_path):
        from matplotlib.axes import Axes

        drawn, vlines = [], Axes.vlines

        def spy(axes, x, low, high, **look):
            drawn.append((low, high))
            return vlines(axes, x, low, high, **look)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Axes, "vlines", spy)
            accuracy_figure(pool_seeds(rows), {checkpoint_of(rows[-1]): (0.25, 0.75)}, tmp_path / "a.png")
        assert drawn == [(25.0, 75.0)]

    def test_each_split_has_a_panel(self, rows, make_row, tmp_path):
        draw_accuracy([*rows, make_row(split="dev")], tmp_path / "a.png")
        assert picture(tmp_path / "a.png").shape[1] == 2 * 1020

    def test_a_dollar_in_a_title_is_no_formula(self, make_row, tmp_path):
        draw_accuracy([make_row(title=r"SFT $\frac{$")], tmp_path / "a.png")
        assert picture(tmp_path / "a.png").min() < 0.5

    def test_a_pdf_is_written_beside_it_and_repeats(self, rows, tmp_path):
        for name in ("a", "b"):
            draw_accuracy(rows, tmp_path / f"{name}.png", tmp_path / f"{name}.pdf")
        content = (tmp_path / "a.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert b"CreationDate" not in content
        assert content == (tmp_path / "b.pdf").read_bytes()

    def test_several_betas_have_panels_of_their_own_that_share_the_other_arms(self, make_row):
        rows = [make_row("sft"), *(make_row("dpo", 1, beta=beta) for beta in (0.3, 0.1)), make_row("rs", 1, beta=None)]
        panels = split_panels(pool_seeds(rows))
        assert list(panels) == ["clinic test, beta 0.1", "clinic test, beta 0.3"]
        for panel in panels.values():
            assert [line.label for line in accuracy_lines(panel)] == ["DPO", "RS"]

    def test_levels_far_below_do_not_press_the_arms_together(self, make_row, tmp_path):
        """Arms from 43 to 67 with their bars, chance at 25, the untrained student at 0."""
        from matplotlib.axes import Axes

        limits = []
        draw = Axes.get_ylim

        def spy(axes):
            limits.append(draw(axes))
            return limits[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Axes, "get_ylim", spy)
            draw_accuracy(
                [make_row("base", num_correct=0, sound=0), make_row(), make_row("dpo", 1, 120)], tmp_path / "a.png"
            )
        assert limits[-1][0] > 30

    def test_a_name_looks_the_same_wherever_it_is_drawn_and_seven_differ_without_colour(self):
        looks = assign_looks(["a", "b", "a", *"cdefg"])
        assert len({(str(look["marker"]), str(look["linestyle"])) for look in looks.values()}) == 7
        assert looks["a"] == assign_looks(["a"])["a"]


class TestBars:
    @staticmethod
    def print_grey(hatch):
        """A bar of the slice figure, as high as with nine arms, in the one grey of a bad printer."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = new_figure(1.0, 0.14)
        figure.add_artist(Rectangle((0, 0), 1, 1, facecolor="0.4", hatch=hatch, edgecolor="white", linewidth=0))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., 0] / 255

    def test_the_bars_of_twelve_arms_differ_without_colour(self):
        bars = assign_bars(["a", "b", "a", *"cdefghijkl"])
        assert len(bars) == 12
        with styled([]):
            prints = [self.print_grey(bar["hatch"]) for bar in bars.values()]
        for one, other in combinations(prints, 2):
            assert np.mean(abs(one - other) > 0.3) > 0.1, "a tenth of the bar is white in one and grey in the other"
        assert bars["a"] == assign_bars(["a"])["a"]

    def test_twelve_arms_are_drawn_as_told_apart(self, make_row, make_score, make_results, tmp_path):
        from matplotlib.axes import Axes

        drawn, draw = set(), Axes.barh

        def spy(axes, *places, **bar):
            drawn.add(bar["hatch"])
            return draw(axes, *places, **bar)

        rows = [make_row(f"arm{number}", 1) for number in range(12)]
        whole = make_score()
        counts = {name: getattr(whole, name) for name in Tally.__struct_fields__}
        score = make_score(slices=(Slice(**counts, annotation="ward", value="a"),))
        results = make_results(rows, {row.artefact: score for row in rows})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Axes, "barh", spy)
            assert slice_figure(results, pool_seeds(rows), {}, tmp_path / "slices.png")
        assert len(drawn) == 12


class TestCurvesFigure:
    def test_seeds_are_averaged_at_the_steps_that_all_logged(self):
        one = [{"step": 1, "train/margin": 0.0}, {"step": 2, "train/margin": 1.0}]
        other = [{"step": 1, "train/margin": 0.5, "train/extra": 1.0}, {"step": 3, "train/margin": 9.0}]
        assert mean_rows([one, other]) == [{"step": 1, "train/margin": 0.25}]

    def test_same_rows_give_the_same_bytes_in_any_order_of_iterations(self, tmp_path):
        curves_figure(curves(), tmp_path / "a.png")
        curves_figure(curves()[::-1], tmp_path / "b.png")
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_an_arm_without_rejected_responses_is_drawn(self, tmp_path):
        curves_figure([*curves(), *curves("RS", with_rejected=False)], tmp_path / "a.png")
        one_column = math.floor((1.2 + 3.2) * 150)
        assert picture(tmp_path / "a.png").shape[1] == one_column + 480


class TestFonts:
    @pytest.fixture(autouse=True)
    def warn_again(self):
        fonts._warn_missing.cache_clear()
        yield
        fonts._warn_missing.cache_clear()

    def test_latin_labels_need_no_font(self, caplog):
        assert fonts.choose_families(["SFT", "DPO – β 0.1"], []) == ["DejaVu Sans"]
        assert not caplog.records

    def test_chinese_labels_take_an_installed_font(self, caplog):
        assert fonts.choose_families(["SFT", "自我纠错"], ["Arial", "WenQuanYi Zen Hei"]) == [
            "DejaVu Sans",
            "WenQuanYi Zen Hei",
        ]
        assert not caplog.records

    def test_no_font_is_said_once_with_what_to_install(self, rows, make_row, tmp_path, monkeypatch, caplog, recwarn):
        monkeypatch.setattr(fonts, "CJK", ())
        with caplog.at_level(logging.WARNING):
            for name in ("a.png", "b.png"):
                draw_accuracy([make_row(title="自我纠错")], tmp_path / name)
        assert len(caplog.records) == 1
        assert "fonts-noto-cjk" in caplog.text
        assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_importing_reporting_loads_no_heavy_package():
    modules = "summary, pooling, tables, figures, fonts, terminal, wandb_export, paper, dashboard, panels, trail"
    code = f"from medcritical.reporting import {modules}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    loaded = set(done.stdout.split())
    assert "medcritical.reporting.wandb_export" in loaded
    assert loaded.isdisjoint({"torch", "matplotlib", "wandb", "rich", "numpy"})

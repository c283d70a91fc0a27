"""Training runs to compare: what differs is what was asked for, and nothing else; the stored tables are whole."""
import csv
import math
import sys
from pathlib import Path

import pytest
import torch
from small import quiet

from gpt_checks.enough_text import crossing as crossing_of_lists
from gpt_helpers.language import KINDS, HarbourLog
from gpt_helpers.lessons.scaling import (
    BATCH_SIZE,
    CONTEXT_LENGTH,
    VALIDATION,
    first_below,
    lead_change,
    learn_from,
    loaders,
    mean_by_kind,
    new_training,
    read_runs,
)
from gpt_helpers.loss import bigram_loss
from gpt_helpers.validate import PADDING
from gpt_helpers.words import entry_windows

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import enough_text

LOG = HarbourLog()


@pytest.mark.slow
def test_the_same_seed_is_the_same_training():
    runs = [quiet(learn_from, LOG, 2_000, emb_dim=16, steps=12, seed=seed) for seed in (1, 1, 2)]
    assert runs[0][1] == runs[1][1] != runs[2][1]
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model, _ in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.slow
def test_a_training_learns_and_counts_words_without_padding():
    _, history = quiet(learn_from, LOG, 20_000, emb_dim=16, steps=60)
    assert history.val_losses[-1] < 2.5 < 4 < history.val_losses[0]
    assert 35 * BATCH_SIZE * 60 < history.tokens_seen[-1] < 45 * BATCH_SIZE * 60


def test_all_training_texts_have_the_same_validation_text_and_none_is_part_of_it():
    for tokens, seed in ((1_000, 1), (5_000, 2)):
        train_loader, val_loader = loaders(LOG, tokens, steps=3, seed=seed)
        [(_, targets)] = val_loader
        assert torch.equal(targets[targets != PADDING], LOG.write(**VALIDATION)[1:])
        text = set(map(tuple, entry_windows(LOG.write(tokens, seed), 0, CONTEXT_LENGTH).tensors[1].tolist()))
        assert {tuple(row.tolist()) for _, rows in train_loader for row in rows} <= text
        assert len(train_loader) == 3 and not set(map(tuple, targets.tolist())) <= text
    with pytest.raises(ValueError, match="seed=0"):
        loaders(LOG, 1_000, steps=3, seed=VALIDATION["seed"])


def test_a_wider_model_steps_more_carefully_and_the_rate_comes_down():
    def peak_and_end(width):
        _, optimizer, scheduler = new_training(81, width, 40, 1, "cpu")
        rates = []
        for _ in range(40):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(rates) < 40:
                scheduler.step()
        return max(rates), rates[-1]

    narrow, wide = peak_and_end(16), peak_and_end(64)
    assert narrow[0] == pytest.approx(2 * wide[0]) and wide[0] == pytest.approx(3e-3) and wide[1] < 1e-4
    assert new_training(81, 16, 40, 1, "cpu")[0].cfg["context_length"] == CONTEXT_LENGTH


@pytest.mark.parametrize("steps", [10, 20, 21, 40])
def test_any_number_of_steps_from_ten_on_has_a_schedule(steps):
    _, optimizer, scheduler = new_training(81, 16, steps, 1, "cpu")
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
    assert 0 < optimizer.param_groups[0]["lr"] < 1e-4
    for few in (0, 9, 1.5, None):
        with pytest.raises(ValueError, match="steps="):
            new_training(81, 16, few, 1, "cpu")


def stored(name):
    with open(enough_text.NOTEBOOKS / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_script_stores_a_line_for_each_run_and_nothing_when_one_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(enough_text, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(enough_text, "TEXTS", (400, 800))
    monkeypatch.setattr(enough_text, "SEEDS", (1,))
    monkeypatch.setattr(enough_text, "learn_from", lambda *args, seed: learn_from(*args, steps=10, emb_dim=16, seed=seed))
    enough_text.main(["text"])
    assert [path.name for path in tmp_path.iterdir()] == ["08_text_size.csv"]
    rows = stored("08_text_size.csv")
    assert [row["tokens"] for row in rows] == ["400", "800"] and all(0 < float(value) < 500 or value in ("400", "800")
                                                                    for row in rows for value in row.values())
    _, history = quiet(learn_from, LOG, 800, steps=10, emb_dim=16, seed=1)
    val = LOG.write(**VALIDATION)
    assert float(rows[1]["last"]) == pytest.approx(history.val_losses[-1], abs=1e-4)
    assert float(rows[1]["best"]) == pytest.approx(min(history.val_losses), abs=1e-4)
    assert float(rows[1]["table_2"]) == pytest.approx(bigram_loss(val, LOG.write(800, 1), 81), abs=1e-4)
    before = (tmp_path / "08_text_size.csv").read_bytes()
    monkeypatch.setattr(enough_text, "learn_from", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        enough_text.main(["text"])
    assert (tmp_path / "08_text_size.csv").read_bytes() == before


@pytest.mark.parametrize(("name", "key", "values"), [("08_text_size.csv", "tokens", enough_text.TEXTS),
                                                     ("08_width.csv", "width", enough_text.WIDTHS)])
def test_the_stored_tables_have_every_run(name, key, values):
    runs = [(int(row[key]), int(row["seed"])) for row in stored(name)]
    assert runs == [(value, seed) for value in values for seed in enough_text.SEEDS]


def test_the_stored_runs_are_read_by_any_column_as_numbers():
    by_size, by_seed = (read_runs(enough_text.NOTEBOOKS / "08_text_size.csv", by) for by in ("tokens", "seed"))
    assert (tuple(by_size), tuple(by_seed)) == (enough_text.TEXTS, enough_text.SEEDS)
    assert [run["seed"] for run in by_size[2_000]] == [1, 2, 3]
    assert [run["tokens"] for run in by_seed[2]] == list(enough_text.TEXTS)
    first, *_ = stored("08_text_size.csv")
    assert by_seed[1][0] == {key: float(value) for key, value in first.items()} | {"table": float(first["table_4"])}
    assert tuple(read_runs(enough_text.NOTEBOOKS / "08_width.csv", by="width")) == enough_text.WIDTHS


def test_a_run_that_diverged_can_be_read(tmp_path):
    (tmp_path / "runs.csv").write_text("tokens,last\n1000,nan\n1000,1.5\n")
    lost, well = read_runs(tmp_path / "runs.csv", by="tokens")[1000]
    assert math.isnan(lost["last"]) and well["last"] == 1.5


def gaps(*values):
    """Runs on texts of 1,000, 10,000, … tokens, the GPT so far above the table."""
    return [{"tokens": 1_000 * 10**i, "last": 1 + gap, "table": 1} for i, gap in enumerate(values)]


def test_the_lead_changes_on_a_straight_line_over_the_logarithm_of_the_size():
    assert lead_change(gaps(1, -1)) == pytest.approx(1_000 * 10**0.5)
    assert lead_change(gaps(2, 3, -1, 5)) == pytest.approx(10_000 * 10**0.75)
    for runs in read_runs(enough_text.NOTEBOOKS / "08_text_size.csv", by="seed").values():      # as exercise 8.5 has it
        sizes, model, table = ([run[key] for run in runs] for key in ("tokens", "last", "table"))
        assert lead_change(runs) == pytest.approx(crossing_of_lists(sizes, model, table))


@pytest.mark.parametrize("values", [(1, 2), (-1, -2), (1, 0)])
def test_where_the_lead_does_not_change_that_is_said_in_one_line(values):
    with pytest.raises(ValueError, match=r"^the GPT is between -?\d.\d{3} and -?\d.\d{3} above the table, and the lead .*$"):
        lead_change(gaps(*values))


def test_first_below_is_where_a_curve_goes_under_for_the_first_time():
    assert first_below(2, [3, 2, 1, 5, 0], "abcde") == "c"
    with pytest.raises(ValueError, match=r"^got values of 2 and more, need one below 2$"):
        first_below(2, [3, 2], "ab")


def test_mean_by_kind_is_the_mean_of_all_and_of_the_tokens_of_each_kind():
    losses, kinds = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([0, 1, 0, 2])
    assert mean_by_kind(losses, kinds) == {"all": 3.0} | dict(zip(KINDS, [2.0, 2.0, 6.0], strict=True))

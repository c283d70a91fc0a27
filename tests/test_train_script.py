"""`scripts/train.py`, as people call it: it trains, goes on to the same bits, and says in one line what is wrong."""
import csv
import hashlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt_helpers import train as loops
from gpt_helpers.checkpoint import read_checkpoint
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.text import load_text, text_to_token_ids
from gpt_helpers.weights import load_weights

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import train as script

ROOT = Path(__file__).parent.parent
SMALL = ["emb_dim=8", "n_heads=2", "n_layers=1", "context_length=16", "batch_size=4", "eval_iter=1", "test_iter=2",
         "max_steps=12", "eval_freq=4", "checkpoint_freq=2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GPT_HELPERS_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
FILES = {"checkpoint.pt", "best.safetensors", "curve.csv", "curve.png", "settings.json", "tokens.bin", "tokens.json"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with my.txt, in which the script runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_HELPERS_DEVICE", "cpu")
    (tmp_path / "my.txt").write_text(load_text()[:8000], encoding="utf-8")
    threads, before = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, before)


def run(capsys, *arguments):
    """The script in this process: exit status, what it printed, what it complained about."""
    status = script.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def weights(path="runs/my/best.safetensors"):
    return torch.cat([p.flatten() for p in load_weights(path).state_dict().values()])


def everything(path="runs/my/checkpoint.pt"):
    """All that a checkpoint holds, in a form that can be compared: tensors by their digests.

    Without the random states of Python and NumPy, which differ from process to process, and which nothing draws from.
    """
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key not in ("python", "numpy")}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return hashlib.sha256(value.numpy().tobytes()).hexdigest() if isinstance(value, torch.Tensor) else value
    return plain(read_checkpoint(path))


# It trains.

def test_one_command_trains_and_leaves_everything_in_a_folder_named_from_the_text(folder, capsys):
    status, out, err = run(capsys, "--text", "my.txt", *SMALL)
    assert (status, err) == (0, "")
    assert {path.name for path in (folder / "runs/my").iterdir()} == FILES
    rows = list(csv.DictReader((folder / "runs/my/curve.csv").open()))
    assert [int(row["tokens_seen"]) for row in rows] == [0, 64, 320, 576, 768]
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    assert (folder / "runs/my/curve.png").read_bytes().startswith(b"\x89PNG")
    printed = re.findall(r"Val loss ([\d.]+)", out)
    assert printed == [f"{float(row['val_loss']):.3f}" for row in rows]      # a row in the terminal for a row in the table
    assert "✔ targets" in out                                              # preflight
    test_loss = float(re.search(r"Test loss of the best weights: ([\d.]+) ± [\d.]+ nats", out).group(1))
    assert abs(test_loss - float(rows[-1]["val_loss"])) < 0.5
    assert len(set(weights().tolist())) > 100


@pytest.mark.slow
def test_a_folder_of_texts_and_a_prompt(folder, capsys):
    (folder / "texts").mkdir()
    for name in "ab":
        (folder / "texts" / f"{name}.md").write_text(load_text()[:4000], encoding="utf-8")
    status, out, _ = run(capsys, "--text", "texts", "--out", "here", "--prompt", "Every effort", "--no-preflight", *SMALL)
    assert status == 0 and "✔" not in out and out.splitlines()[-1].startswith("Every effort")
    about = json.loads((folder / "here/tokens.json").read_text())
    assert [source["name"] for source in about["sources"]] == ["a.md", "b.md"] and not (folder / "runs").exists()


def test_the_settings_reach_what_they_are_for(folder, capsys, monkeypatch):
    """The parts with which train_model is called are those that the settings describe."""
    got = {}

    def watch(model, train_loader, val_loader, optimizer, device, *args, **kwargs):
        got.update(locals())
        kwargs["scheduler"].last_epoch = 10**9      # as if finished
        for name in ("best.safetensors", "checkpoint.pt"):
            Path("runs/my", name).touch()

    monkeypatch.setattr(script, "train_model", watch)
    monkeypatch.setattr(script, "test", lambda *args: None)
    settings = ("emb_dim=12 n_heads=3 drop_rate=0 qkv_bias=true lr=0.01 min_lr=0.002 warmup=4 weight_decay=0.3 beta2=0.9 "
                "max_grad_norm=0.5 accumulate=2 epochs=6 batch_size=5 seed=7 train=0.6 val=0.2 eval_freq=3 eval_iter=2 "
                "checkpoint_freq=6 max_steps=9")
    status, *_ = run(capsys, "--text", "my.txt", "--config", "tiny", "--no-preflight", *settings.split())
    assert status == 0
    assert got["model"].cfg == GPT_CONFIG_TINY | {"emb_dim": 12, "n_heads": 3, "drop_rate": 0.0, "qkv_bias": True}
    torch.manual_seed(7)
    assert torch.equal(GPTModel(got["model"].cfg).tok_emb.weight, got["model"].tok_emb.weight)
    total = text_to_token_ids(load_text()[:8000], script.get_tokenizer()).numel()
    assert len(got["train_loader"].dataset.ids) == round(0.6 * total) and got["train_loader"].batch_size == 5
    assert len(got["val_loader"].dataset.ids) == pytest.approx(0.2 * total, abs=1)
    matrices, others = got["optimizer"].param_groups
    assert {p.ndim for p in matrices["params"]} == {2} and {p.ndim for p in others["params"]} == {1}
    assert (matrices["weight_decay"], others["weight_decay"], matrices["betas"]) == (0.3, 0.0, (0.9, 0.9))
    kwargs = got["kwargs"]
    assert (kwargs["max_grad_norm"], kwargs["accumulate"], kwargs["max_steps"], kwargs["checkpoint_freq"]) == (0.5, 2, 9, 6)
    assert got["args"][:3] == (6, 3, 2)


def rates(**changed):
    """The learning rate of each update of a training with these settings."""
    settings = script.DEFAULTS | {"lr": 1.0, "min_lr": 0.1, "steps": 20, "warmup": 4} | changed
    optimizer, scheduler = script.new_optimizer(torch.nn.Linear(2, 2), settings)
    for _ in range(settings["steps"]):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_the_learning_rate_rises_in_a_line_and_falls_along_half_a_cosine():
    found = list(rates())
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[12] == pytest.approx(0.55) and found[-1] == pytest.approx(0.1, abs=0.01)      # the middle, and the end
    assert sorted(found[4:], reverse=True) == found[4:]
    assert list(rates(schedule="constant"))[4:] == [1.0] * 16
    assert next(rates(warmup=0)) == 1.0 and list(rates(warmup=0, schedule="constant")) == [1.0] * 20


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_and_logits_in_float32():
    torch.manual_seed(1)
    model, kinds = GPTModel(GPT_CONFIG_TINY | {"vocab_size": 50, "emb_dim": 16, "drop_rate": 0.0}), []
    ids = torch.arange(20)[None]
    plain = model(ids)
    model.trf_blocks[0].ff.fc_in.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    assert script.compute_in("float32", model, torch.device("cpu")) is model and torch.equal(model(ids), plain)
    logits = script.compute_in("bfloat16", model, torch.device("cpu"))(ids)
    assert kinds == [torch.float32, torch.bfloat16] and logits.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert 0 < (logits - plain).abs().max() < 0.05
    logits.sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["precision=bfloat16", "schedule=constant", "accumulate=2", "engine=fsdp", "compile=true",
                                     "max_tokens=300"])
def test_it_trains_with_each_extra(setting, folder, capsys):
    status, out, err = run(capsys, "--text", "my.txt", *SMALL, setting, "max_steps=5")
    assert (status, err) == (0, "") and "Test loss of the best weights" in out


# It goes on.

@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_to_the_same_bits_with_its_own_settings(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL, "--out", "whole")
    run(capsys, "--text", "my.txt", *SMALL, "--out", "stopped", "max_steps=5", "warmup=0", "schedule=constant")
    run(capsys, "--text", "my.txt", *SMALL, "--out", "other", "warmup=0", "schedule=constant")
    status, out, _ = run(capsys, "--out", "stopped", "max_steps=12")      # everything else as it was
    assert status == 0 and "✔" not in out
    assert everything("stopped/checkpoint.pt")["model"] == everything("other/checkpoint.pt")["model"]
    assert everything("stopped/checkpoint.pt")["model"] != everything("whole/checkpoint.pt")["model"]


def test_an_update_keeps_its_size_where_another_number_of_processes_can_share_it(folder, capsys, monkeypatch):
    def goes_on(processes, *settings):
        """The batches of an update where so many processes go on, and what is printed."""
        monkeypatch.setattr(script, "TOGETHER", processes > 1)
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        found = script.all_settings(script.parse(["--text", "my.txt", *settings]))
        return found["accumulate"], capsys.readouterr().out

    run(capsys, "--text", "my.txt", *SMALL, "accumulate=2", "max_steps=1")
    for processes in (1, 2):
        assert goes_on(processes) == (2, "")
    assert goes_on(4) == (None, "An update was 2 batches, and is now 4: one for each process\n")
    assert goes_on(4, "accumulate=8") == (8, "")
    run(capsys, "--text", "my.txt", *SMALL, "--restart", "max_steps=1")
    assert json.loads(Path("runs/my/settings.json").read_text())["accumulate"] == 1


@pytest.mark.slow
def test_a_run_that_goes_on_with_another_seed_is_refused_for_it_would_not_be_heard(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL, "max_steps=1")
    status, _, err = run(capsys, "--text", "my.txt", "seed=5")
    assert status == 2 and "got seed=5 for a run that began with seed=123: leave it out, or begin anew with --restart" in err
    assert run(capsys, "--text", "my.txt", "seed=123", "max_steps=2")[0] == 0
    assert run(capsys, "--text", "my.txt", *SMALL, "seed=5", "max_steps=1", "--restart")[0] == 0


def press(when):
    """A callback that presses Ctrl-C, or sends another signal, at a step; at -1 in the evaluation before the first."""
    step, number = when

    class Press(script.Progress):
        def on_step(self, at, loss):
            if at == step:
                signal.raise_signal(number)

        def on_eval(self, history):
            if step == -1 and len(history.val_losses) == 1:
                signal.raise_signal(number)
    return Press


@pytest.mark.parametrize(("step", "number"), [(6, signal.SIGINT), pytest.param(-1, signal.SIGINT, marks=pytest.mark.slow),
                                              pytest.param(6, signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_saves_and_says_how_to_go_on(step, number, folder, capsys, monkeypatch):
    run(capsys, "--text", "my.txt", *SMALL, "--out", "whole")
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # as for a program that a shell runs in the background
    with monkeypatch.context() as patch:
        patch.setattr(script, "Progress", press((step, number)))
        status, out, _ = run(capsys, "--text", "my.txt", *SMALL)
    assert status == 1 and f"Stopped at step {step + 1}: by hand." in out and "Test loss" not in out
    line = out.splitlines()[-1]
    assert line.startswith("To go on from the last checkpoint: python ") and line.endswith(" --out runs/my")
    assert run(capsys, *line.split()[-2:])[0] == 0
    assert everything("runs/my/checkpoint.pt") == everything("whole/checkpoint.pt")
    assert torch.equal(weights(), weights("whole/best.safetensors"))
    assert Path("runs/my/curve.csv").read_text() == Path("whole/curve.csv").read_text()


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bits(folder):
    def start(out):
        command = [sys.executable, ROOT / "scripts/train.py", "--text", "my.txt", "--out", out, *SMALL, "max_steps=60"]
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")

    out, err = start("whole").communicate()
    assert err == "" and "Test loss" in out
    kills = 0
    for step in (0, 13, 30, 50):
        process = start("killed")
        for line in process.stdout:
            if (at := re.search(r"\(Step (\d+)\)", line)) and int(at.group(1)) >= step:
                break
        time.sleep(0.05 * (step % 7))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close(), process.stderr.close()
    out, err = start("killed").communicate()
    assert kills == 4 and err == "" and "Test loss" in out
    assert everything("killed/checkpoint.pt") == everything("whole/checkpoint.pt")
    assert torch.equal(weights("killed/best.safetensors"), weights("whole/best.safetensors"))
    assert Path("killed/curve.csv").read_text() == Path("whole/curve.csv").read_text()


@pytest.mark.slow
def test_a_run_of_two_processes_is_stopped_and_one_process_goes_on(folder):
    """Ctrl-C reaches torchrun and all processes; nothing is printed twice."""
    def start(out, *settings):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [*torchrun, ROOT / "scripts/train.py", "--text", "my.txt", "--out", out, *SMALL, "accumulate=2", *settings]
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                                start_new_session=True)

    out, _ = start("whole", "drop_rate=0").communicate()
    assert all(out.count(words) == 1 for words in ("Device:", "✔ targets", "Before step", "Test loss of the best weights"))
    process = start("stopped", "drop_rate=0", "eval_freq=1", "epochs=200", "max_steps=10000", "schedule=constant", "warmup=0")
    for line in process.stdout:
        if "(Step 000003)" in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    out, _ = process.communicate()
    stopped = int(re.search(r"Stopped at step (\d+): by hand", out).group(1))
    assert "To go on from the last checkpoint: torchrun --nproc-per-node 2 " in out and stopped >= 4
    saved = read_checkpoint("stopped/checkpoint.pt")
    assert saved["training"]["step"] == stopped
    done = subprocess.run([sys.executable, ROOT / "scripts/train.py", "--out", "stopped", f"max_steps={stopped + 2}"],
                          env=ENVIRONMENT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and read_checkpoint("stopped/checkpoint.pt")["training"]["step"] == stopped + 2


@pytest.mark.slow
def test_two_machines_that_share_a_folder_train_one_model(folder):
    """As the README says, with --nnodes 2: here both machines are this one, and the model is that of two processes on one."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ways = {"one": [["--standalone", "--nproc-per-node", "2"]],
            "two": [["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d",
                     "--rdzv-endpoint", f"localhost:{port}"]] * 2}
    for out, agents in ways.items():
        commands = [[sys.executable, "-m", "torch.distributed.run", *agent, ROOT / "scripts/train.py", "--text", "my.txt",
                     "--out", out, *SMALL, "drop_rate=0"] for agent in agents]
        started = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
                   for command in commands]
        printed = "".join(process.communicate()[0] for process in started)
        assert printed.count("Test loss of the best weights") == 1
    assert torch.equal(weights("one/best.safetensors"), weights("two/best.safetensors"))


def test_where_another_process_has_died_the_first_says_how_to_go_on(folder, capsys, monkeypatch):
    """In a line of its own, after that of `processes`, and without a traceback; any other RuntimeError has its traceback."""
    def raising(error):
        def train(*args):
            raise error
        return train

    for error in (RuntimeError("[enforce fail at gloo/transport/tcp/pair.cc:534] Connection closed by peer"),
                  torch.distributed.DistNetworkError("the client socket has timed out")):
        monkeypatch.setattr(script, "train", raising(error))
        status, _, err = run(capsys, "--text", "my.txt", *SMALL)
        assert (status, err.count("\n")) == (2, 1) and "the same command goes on from the last checkpoint" in err
    monkeypatch.setattr(script, "train", raising(RuntimeError("a fault of the program")))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        run(capsys, "--text", "my.txt", *SMALL)


@pytest.mark.slow
def test_a_restart_keeps_the_run_that_was_there(folder, capsys):
    """Also a checkpoint that lies elsewhere, on a larger disk, with a link to it here."""
    run(capsys, "--text", "my.txt", *SMALL)
    first = everything()
    (folder / "elsewhere").mkdir()
    Path("runs/my/checkpoint.pt").rename("elsewhere/mine.pt")
    Path("runs/my/checkpoint.pt").symlink_to(Path("../../elsewhere/mine.pt"))
    for n in (1, 2):
        status, out, _ = run(capsys, "--text", "my.txt", "--restart", *SMALL, "seed=5")
        assert status == 0 and f"The run that was here is now in runs/my/before-{n}" in out.replace("\\", "/")
    assert everything("runs/my/before-1/checkpoint.pt") == first != everything()
    assert {path.name for path in Path("runs/my/before-1").iterdir()} == set(script.RUN)


@pytest.mark.slow
def test_a_damaged_token_file_is_mended(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL, "max_steps=4")
    before = Path("runs/my/tokens.bin").read_bytes()
    Path("runs/my/tokens.bin").write_bytes(before[:-7])
    status, _, err = run(capsys, "--out", "runs/my", "max_steps=6")
    assert (status, err) == (0, "") and Path("runs/my/tokens.bin").read_bytes() == before


# It says in one line what is wrong.

@pytest.mark.parametrize(("arguments", "words"), [
    ([], "name a text to train on, --text my.txt"),
    (["--text", "gone.txt"], r"no text at .*gone\.txt"),
    (["--text", "loop.txt"], r"no text at .*loop\.txt"),
    (["--text", "empty.txt"], r"there is no text in .*empty\.txt"),
    (["--text", "binary.txt"], r"binary\.txt is not UTF-8: byte 0xff at offset 2"),
    (["--text", "short.txt"], "too few for one window"),
    (["--txt", "my.txt"], "got option '--txt', need one of: --text"),
    (["--text"], "--text: expected one argument"),
    (["my.txt"], "got 'my.txt', need --text FILE"),
    (["--text", "my.txt", "more.txt"], r"got 'more\.txt', need --text FILE, another option, or setting=value"),
    (["--text", "my.txt", "batchsize=8"], "got setting 'batchsize', need one of: batch_size"),
    (["--text", "my.txt", "--learning_rate=8"], "got option '--learning_rate', need one of:"),
    (["--text", "my.txt", "emb_dim=7"], "emb_dim must be a multiple of n_heads"),
    (["--text", "my.txt", "lr=fast"], "--lr: got 'fast', need a number above 0"),
    (["--text", "my.txt", "lr=-1"], "--lr: got '-1', need a number above 0"),
    (["--text", "my.txt", "lr=nan"], "--lr: got 'nan', need a number above 0"),
    (["--text", "my.txt", "batch_size=0"], "--batch_size: got '0', need an integer of at least 1"),
    (["--text", "my.txt", "batch_size=2.5"], "--batch_size: got '2.5', need an integer"),
    (["--text", "my.txt", "batch_size=inf"], "--batch_size: got 'inf', need an integer"),
    (["--text", "my.txt", "compile=maybe"], "--compile: got 'maybe', need true or false"),
    (["--text", "my.txt", "precision=float16"], "--precision: got 'float16', need one of: float32, bfloat16"),
    (["--text", "my.txt", "--config", "125M"], "--config: got '125M', need one of: tiny, small, 124M, 355M, 774M, 1558M"),
    (["--text", "my.txt", "warmup=50"], "got warmup=50, need fewer updates than the 12 of the training"),
    (["--text", "my.txt", "min_lr=1"], "got min_lr=1 above lr=0.002"),
    (["--text", "my.txt", "train=0.9", "val=0.1"], "need something left for each part"),
    (["--text", "my.txt", "train=0.9", "val=0.3"], "got train=0.9 and val=0.3, need something left for each part"),
    (["--text", "my.txt", "val=0"], "got train=0.8 and val=0, need something left for each part"),
    (["--text", "my.txt", "--device", "gpu"], "got the device 'gpu'"),
    (["--text", "my.txt", "--resume"], r"there is no run to resume in runs.my"),
    (["--text", "my.txt", "--resume", "--restart"], "not allowed with argument"),
    (["text=my.txt"], "got 'text=my.txt', need it as an option: --text my.txt"),
    (["--text", "my.txt", "--out", "my.txt"], r"got --out my\.txt, which is a file: name a folder"),
    (["--out", "nothing"], "name a text to train on"),
    (["--text", "my.txt", "--prompt", ""], "got --prompt '', need something to read in UTF-8"),
    (["--text", "my.txt", "--out", "a\0b"], r"got --out 'a\\x00b', need something to read"),
    (["--text", "my.txt", "--out", "a\udcffb"], r"got --out 'a\\udcffb', need something to read"),
    (["--text", "my.txt", "--out", "my.txt/run"], r"Not a directory: 'my\.txt.*; name another file or folder"),
    (["--text", "my.txt", "--out", "x" * 300], "File name too long: 'xxx.*; name another"),
    (["--text", "my.txt", "--device", "meta"], "got --device meta, which holds no numbers"),
    (["--text", "my.txt", "beta2=0"], "--beta2: got '0', need a number above 0 and below 1"),
    (["--text", "my.txt", "seed=1e30"], r"--seed: got '1e30', need an integer from 0 to 2\*\*63 - 1"),
    (["--text", "my.txt", "batch_size=1e30"], "--batch_size: got '1e30', need an integer of at least 1, at most 1e15"),
    (["--text", "my.txt", "n_layers=1e9"], "--n_layers: got '1e9', need an integer from 1 to 10,000"),
    (["--text", "my.txt", "emb_dim=1e12"], "there is too little memory: .* or a smaller model"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_wrong_is_said_in_one_line_and_the_exit_status_is_2(arguments, words, folder, capsys):
    (folder / "empty.txt").touch()
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "binary.txt").write_bytes(b"ab\xff\xfe")
    (folder / "short.txt").write_text("Too short for anything.")
    status, out, err = run(capsys, *SMALL, *arguments)
    assert status == 2 and re.search(words, err), err
    assert err.startswith("train.py: ") and err.count("\n") == 1
    assert not list(folder.rglob("checkpoint.pt")) and "Traceback" not in out
    if "too few" not in words:      # no text is encoded for a command that contradicts itself
        assert {path.name for path in folder.iterdir()} == {"my.txt", "empty.txt", "loop.txt", "binary.txt", "short.txt"} | set(
            ["runs"] if (folder / "runs").exists() else []) and not list(folder.glob("runs/*"))


def test_a_run_is_not_mixed_up_with_another(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL, "max_steps=2")
    before = {path.name: path.read_bytes() for path in Path("runs/my").iterdir()}
    (folder / "my.txt").write_text("Another text. " * 500)
    assert "holds the tokens of another text, or it has changed since: use another folder" in run(capsys, "--text", "my.txt")[2]
    (folder / "my.txt").write_text(load_text()[:8000], encoding="utf-8")
    assert "another model configuration (emb_dim was 8, and is now 16)" in run(capsys, "--text", "my.txt", "emb_dim=16")[2]
    assert before.keys() == {path.name for path in Path("runs/my").iterdir()}
    Path("runs/my/checkpoint.pt").write_bytes(before["checkpoint.pt"][:-100])
    assert run(capsys, "--text", "my.txt")[2].rstrip().endswith("use an older one, or start over with --restart")
    Path("runs/my/checkpoint.pt").write_bytes(before["checkpoint.pt"])
    for name in ("checkpoint.pt", "settings.json"):      # a refused command leaves the run as it was
        assert before[name] == Path("runs/my", name).read_bytes()
    stored = before["settings.json"].decode()
    for damage in ("", "[1]", "null", '{"lr": 1, "colour": "red"}', stored.replace('"tiny"', '"zzz"'),
                   stored.replace('"max_steps": 2', '"max_steps": -3'), stored.replace('"max_steps": 2', '"max_steps": null'),
                   stored.replace('"text": "', '"text": "\\u0000'), stored.replace('"prompt": "', '"prompt": 3, "x": "')):
        assert damage != stored
        Path("runs/my/settings.json").write_text(damage)
        assert "is missing or damaged: begin anew with --restart" in run(capsys, "--text", "my.txt")[2]


def test_a_link_to_a_disk_that_is_not_there_is_no_new_run(folder, capsys):
    """The run on it would be overwritten, one file after the other."""
    Path("runs/my").mkdir(parents=True)
    Path("runs/my/checkpoint.pt").symlink_to(folder / "unmounted" / "checkpoint.pt")
    status, _, err = run(capsys, "--text", "my.txt", *SMALL)
    assert status == 2 and "checkpoint.pt is a link to what is not there: bring back its disk" in err and err.count("\n") == 1
    assert [path.name for path in Path("runs/my").iterdir()] == ["checkpoint.pt"]


@pytest.mark.slow
def test_a_restart_that_is_refused_has_moved_nothing(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL)
    status, out, err = run(capsys, "--text", "my.txt", *SMALL, "--restart", "context_length=900")
    assert status == 2 and "too few for one window" in err and "now in" not in out
    assert not Path("runs/my/before-1").exists() and Path("runs/my/checkpoint.pt").exists()


@pytest.mark.slow
def test_where_torchrun_starts_it_again_it_does_not_begin_anew(folder, capsys, monkeypatch):
    run(capsys, "--text", "my.txt", *SMALL)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run(capsys, "--text", "my.txt", *SMALL, "--restart")[0] == 0 and not Path("runs/my/before-1").exists()


def test_batches_that_cannot_be_shared_out_are_refused_before_the_text_is_read(folder, capsys, monkeypatch):
    monkeypatch.setattr(script, "TOGETHER", True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = run(capsys, "--text", "my.txt", *SMALL, "accumulate=3")
    assert status == 2 and "got accumulate=3 for 2 processes, need a multiple of 2" in err and not Path("runs").exists()


@pytest.mark.slow
def test_half_of_torchruns_environment_is_none(folder):
    """A process that takes itself for the second of some, and is alone, would wait for the first for ever."""
    done = subprocess.run([sys.executable, ROOT / "scripts/train.py", "--text", "missing.txt"], env=ENVIRONMENT | {"RANK": "x"},
                          capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("train.py: no text at") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_character_that_the_output_does_not_know_stops_nothing(folder):
    (folder / "my.txt").write_text(load_text()[:8000].replace("tide", "прилив"), encoding="utf-8")
    done = subprocess.run([sys.executable, ROOT / "scripts/train.py", "--text", "my.txt", *SMALL], capture_output=True,
                          env=ENVIRONMENT | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert done.returncode == 0 and done.stderr == b"" and b"Test loss" in done.stdout


def test_two_runs_do_not_share_a_folder(folder, capsys):
    with script.locked(folder):
        status, _, err = run(capsys, "--text", "my.txt", "--out", ".", *SMALL)
        assert status == 2 and err.startswith("train.py: another program is training in .: wait until") and err.count("\n") == 1
    assert not (folder / "tokens.json").exists()
    with script.locked(folder):                       # who has left has unlocked it
        pass


def test_other_processes_wait_for_the_tokens_of_their_text(folder, monkeypatch):
    """Those of the text as it was before, which no run needs, are there until the first process has replaced them."""
    settings = {"text": folder / "my.txt", "out": folder}
    script.tokens_of(settings)
    (folder / "my.txt").write_text(load_text()[8000:16000], encoding="utf-8")
    waits = []

    def first_process(seconds):
        waits.append(seconds)
        with monkeypatch.context() as patch:
            patch.setattr(script, "FIRST", True)
            script.tokens_of(settings)

    monkeypatch.setattr(script, "FIRST", False)
    monkeypatch.setattr(script.time, "sleep", first_process)
    ids = script.tokens_of(settings)
    assert len(waits) == 1 and script.get_tokenizer().decode(ids.tolist()) == load_text(folder / "my.txt")


def test_a_run_that_is_half_set_aside_is_not_lost(folder, capsys, monkeypatch):
    """Killed while its files are moved: what is still there is no run to go on with, and the next --restart moves it, too."""
    before = {name: name.encode() for name in script.RUN}
    for name, raw in before.items():
        Path(name).write_bytes(raw)
    rename, moved = Path.rename, []

    def dying(path, target):
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(path)
        rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", dying)
        script.set_aside(Path())
    assert "settings.json is missing or damaged: begin anew with --restart" in run(capsys, "--text", "my.txt", "--out", ".")[2]
    script.set_aside(Path())
    assert {path.name: path.read_bytes() for path in folder.glob("before-*/*")} == before


def test_a_text_that_may_not_be_read_leaves_no_folder(folder, capsys, monkeypatch):
    def refused(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(script, "encode_texts", refused)
    status, _, err = run(capsys, "--text", "my.txt", *SMALL)
    assert status == 2 and "Permission denied: " in err and not list(folder.glob("runs/*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_said_in_one_line(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out/tokens.bin").symlink_to("/dev/full")
    status, _, err = run(capsys, "--text", "my.txt", "--out", "out", *SMALL)
    assert (status, err) == (2, "train.py: No space left on device; mend that, and the same command goes on from here\n")


@pytest.mark.parametrize("from_save", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_whose_last_checkpoint_could_not_be_saved_does_not_pass_for_done(from_save, folder, capsys, monkeypatch):
    """Neither when no checkpoint was saved, nor when only the first one was."""
    calls, save = itertools.count(1), loops.save_checkpoint

    def on_a_full_disk(*args, **kwargs):
        if next(calls) >= from_save:
            raise OSError("checkpoint.pt could not be written (No space left on device)")
        save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(loops, "save_checkpoint", on_a_full_disk)
        status, out, err = run(capsys, "--text", "my.txt", *SMALL, "max_steps=4", "checkpoint_freq=3")
    assert status == 2 and "Not saved: " in out
    assert err == ("train.py: the last updates are in no checkpoint; make room for one, and the same command takes them again\n")
    assert run(capsys, "--text", "my.txt", *SMALL, "max_steps=4", "checkpoint_freq=3")[::2] == (0, "")
    assert run(capsys, "--text", "my.txt", *SMALL, "max_steps=4", "checkpoint_freq=3")[::2] == (0, ""), "done already"


@pytest.mark.parametrize("at", [1, 3])
def test_after_a_loss_of_nan_nobody_is_told_to_make_room(at, folder, capsys, monkeypatch):
    calls, update = itertools.count(1), loops.accumulate_gradients

    def diverged(*args, **kwargs):
        if next(calls) == at:
            raise FloatingPointError("the training loss is nan")
        return update(*args, **kwargs)

    monkeypatch.setattr(loops, "accumulate_gradients", diverged)
    status, out, err = run(capsys, "--text", "my.txt", *SMALL, "checkpoint_freq=12", "--no-preflight")
    assert (status, err) == (1, "") and "There is no checkpoint yet" in out


@pytest.mark.slow
def test_after_a_loss_of_nan_the_advice_is_not_to_do_the_same_again(folder, capsys):
    run(capsys, "--text", "my.txt", *SMALL)
    status, out, _ = run(capsys, "--text", "my.txt", "max_steps=24", "lr=1e30")
    assert status == 1 and "go on with a smaller lr=…, or it will be nan again\nTo go on from the last checkpoint" in out


def test_each_machine_says_what_is_wrong_there(folder, capsys, monkeypatch):
    monkeypatch.setattr(script, "FIRST", False)
    monkeypatch.setattr(script, "TOGETHER", True)
    for local_rank, words in {"0": "train.py: got option '--txt', need one of: --text", "1": ""}.items():
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        status, _, err = run(capsys, "--txt", "my.txt")
        assert status == 2 and err.startswith(words) and bool(err) == bool(words)


@pytest.mark.parametrize(("words", "number"), [("1e6", 10**6), ("1_000", 1000), ("9007199254740993", 9007199254740993),
                                               (str(2**63 - 1), 2**63 - 1)])
def test_whole_numbers_keep_every_digit(words, number):
    assert script.SEED(words) == number


def test_a_text_that_no_run_needs_may_be_mended(folder, capsys):
    (folder / "my.txt").write_text("Too short.")
    assert "too few for one window" in run(capsys, "--text", "my.txt", *SMALL)[2]
    (folder / "my.txt").write_text(load_text()[:8000], encoding="utf-8")
    assert run(capsys, "--text", "my.txt", *SMALL, "max_steps=2")[0] == 0


def test_a_loss_of_nan_before_the_first_checkpoint_says_to_begin_again(folder, capsys):
    status, out, _ = run(capsys, "--text", "my.txt", *SMALL, "lr=1e9", "--no-preflight")
    assert status == 1 and "There is no checkpoint yet: begin again" in out
    assert run(capsys, "--text", "my.txt", *SMALL, "max_steps=2")[0] == 0


def test_preflight_stops_a_training_that_cannot_work(folder, capsys):
    status, _, err = run(capsys, "--text", "my.txt", *SMALL, "lr=30", "warmup=0")
    assert status == 2 and "preflight found" in err and err.endswith("(mend that, or train without preflight)\n")
    assert err.count("\n") == 1


def test_stopped_after_a_restart_it_does_not_advise_another(folder, capsys, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "set_aside", stop)
    status, _, err = run(capsys, "--text", "my.txt", *SMALL, "--restart")
    assert (status, err) == (1, "train.py: stopped; the same command goes on from here\n")      # nothing is moved yet
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(script, "train", stop)
    for more, words in {(): "the same command goes on", ("--restart",): "the same command, without --restart, goes on"}.items():
        status, _, err = run(capsys, "--text", "my.txt", *SMALL, *more)
        assert (status, err) == (1, f"train.py: stopped; {words} from here\n")


def test_help_names_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name} …" in shown for name in script.DEFAULTS)
    assert "(16)" in shown and "(cosine)" in shown and max(map(len, shown.splitlines())) <= 130

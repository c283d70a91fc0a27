"""Two training loops: the lessons' own, in the classic order, and the one for real work, which can be stopped and resumed."""
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from gpt_helpers.checkpoint import check_keeping, describe_data, load_checkpoint, save_checkpoint
from gpt_helpers.evaluate import History, check_losses, check_training, evaluate_model, generate_and_print_sample
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.resume import Place, random_state, set_random_state, undisturbed, uninterrupted
from gpt_helpers.weights import save_weights, write_or_say


def train_model_simple(model, train_loader, val_loader, optimizer, device, num_epochs,
                       eval_freq, eval_iter, start_context, tokenizer, *, on_step=None, on_eval=None, on_sample=None):
    """Train for num_epochs passes over train_loader; evaluate every eval_freq steps; print a sample after each epoch.

    Steps count from 0, so "step 0" is evaluated after the first update. eval_iter: batches per evaluation.
    on_step(step, loss) is called after each update, for a progress line; on_eval(history) after each evaluation, for a live
    plot; on_sample(epoch, text) with each sample.
    Returns a History.
    The stop button, or a loss that is not a number, ends the training, which says at which step and returns its records.
    """
    check_training(model, train_loader, val_loader, optimizer, num_epochs, eval_freq, eval_iter, start_context, tokenizer)
    history = History([], [], [])
    tokens_seen, global_step = 0, -1

    try:
        for epoch in range(num_epochs):
            model.train()
            for input_batch, target_batch in train_loader:
                optimizer.zero_grad()
                loss = calc_loss_batch(input_batch, target_batch, model, device)
                if not loss.isfinite():
                    return stop(history, global_step + 1, f"the training loss is {loss.item()}")
                loss.backward()
                optimizer.step()
                tokens_seen += input_batch.numel()
                global_step += 1
                if on_step:
                    on_step(global_step, loss.item())

                if global_step % eval_freq == 0:
                    train_loss, val_loss = evaluate_model(model, train_loader, val_loader, device, eval_iter)
                    if not math.isfinite(train_loss + val_loss):
                        return stop(history, global_step, f"the evaluated losses are {train_loss} and {val_loss}")
                    history.train_losses.append(train_loss)
                    history.val_losses.append(val_loss)
                    history.tokens_seen.append(tokens_seen)
                    if on_eval:
                        on_eval(history)
                    print(f"Ep {epoch + 1} (Step {global_step:06d}): Train loss {train_loss:.3f}, Val loss {val_loss:.3f}")

            sample = generate_and_print_sample(model, tokenizer, device, start_context)
            if on_sample:
                on_sample(epoch + 1, sample)
    except KeyboardInterrupt:
        model.train()                              # also when evaluation or a sample was interrupted
        return stop(history, global_step + 1, "by hand")
    return history


def stop(history, step, reason):
    """Say at which step a training stopped and why; hand back what it had recorded by then."""
    advice = "" if reason == "by hand" else ". No later step can mend that; most often a smaller learning rate prevents it"
    print(f"Stopped at step {step}: {reason}{advice}.")
    whole = min(map(len, history))                 # an interruption may have come between two lists
    return History(*(part[:whole] for part in history))


def train_model(model, train_loader, val_loader, optimizer, device, num_epochs, eval_freq, eval_iter, start_context, tokenizer, *,
                checkpoint_path=None, checkpoint_freq=None, resume=False, best_path=None, max_steps=math.inf, max_tokens=math.inf,
                eval_ends=True, disturb=False, on_step=None, on_eval=None, on_sample=None):
    """`train_model_simple` for real work: looking leaves no trace, and a stopped training goes on with the same bits.

    checkpoint_path: where the training is kept every checkpoint_freq steps, at its end and when it is stopped by hand.
    resume: go on from that file, or start when there is none yet. best_path: where the weights with the lowest
    validation loss are kept, as safetensors. max_steps, max_tokens: stop there, counted from the very beginning.
    eval_ends: also evaluate before the first update and after the last. disturb: let evaluation draw from the random
    numbers of the training; with this and eval_ends=False the weights are those of `train_model_simple`, bit for bit.
    on_step(step, loss), on_eval(history), on_sample(epoch, text) are called after each of these; on_sample also for
    the samples of before, when resuming.
    Returns a History. Errors as of `load_checkpoint`; FileExistsError when a checkpoint is there and resume is not set.
    """
    check_training(model, train_loader, val_loader, optimizer, num_epochs, eval_freq, eval_iter, start_context, tokenizer)
    check_keeping(checkpoint_path, checkpoint_freq, resume)
    place, data = Place(now=random_state(train_loader)), describe_data(train_loader)
    if resume and Path(checkpoint_path).exists():
        place = Place(**load_checkpoint(checkpoint_path, model, optimizer, data=data, keys=Place.__dataclass_fields__))
        set_random_state(place.now, train_loader)
        for epoch, text in enumerate(place.samples):
            on_sample and on_sample(epoch + 1, text)
    history = History(*place.losses)
    looking = nullcontext if disturb else partial(undisturbed, model, train_loader, val_loader)

    def evaluate(due=True):
        if due and history.tokens_seen[-1:] != [place.tokens_seen]:      # an interrupted one is made up for, no one is made twice
            with looking():
                losses = evaluate_model(model, train_loader, val_loader, device, eval_iter)
            check_losses(*losses, what="evaluated losses")
            if best_path and losses[1] < min(history.val_losses, default=math.inf):
                write_or_say(save_weights, best_path, model)
            with uninterrupted():
                for row, value in zip(history, (*losses, place.tokens_seen), strict=True):
                    row.append(value)
                place.now = random_state(train_loader)
            if on_eval:
                on_eval(history)
            last = place.step - 1
            where = f"Ep {last // len(train_loader) + 1} (Step {last:06d})" if place.step else "Before step 000000"
            print(f"{where}: Train loss {losses[0]:.3f}, Val loss {losses[1]:.3f}")

    def sample(due):
        if due and len(place.samples) == place.epoch:
            with looking():
                place.samples.append(generate_and_print_sample(model, tokenizer, device, start_context))
            if on_sample:
                on_sample(place.epoch + 1, place.samples[-1])

    def keep(due=True):
        if due and checkpoint_path:
            write_or_say(save_checkpoint, checkpoint_path, model, optimizer, vars(place), data=data)

    def after_step():
        evaluate(place.step % eval_freq == 1 % eval_freq)
        sample(place.batch == len(train_loader))
        place.now = random_state(train_loader)
        keep(checkpoint_freq and place.step % checkpoint_freq == 0)

    try:
        evaluate(eval_ends and place.step == 0)
        if place.step > 0:
            after_step()                                     # what an interruption has left undone
        for input_batch, target_batch in place.batches(train_loader, num_epochs):
            if place.step >= max_steps or place.tokens_seen >= max_tokens:
                break
            model.train()
            optimizer.zero_grad()
            loss = calc_loss_batch(input_batch, target_batch, model, device)
            check_losses(loss.item(), what="training loss")
            loss.backward()
            with uninterrupted():
                optimizer.step()
                place.advance(input_batch, train_loader)
            if on_step:
                on_step(place.step - 1, loss.item())
            after_step()
        keep()
        history = History(*map(list, history))               # for who goes on, the closing evaluation would be one too many
        evaluate(eval_ends)
    except KeyboardInterrupt:
        with uninterrupted():
            set_random_state(place.now, train_loader)
            keep()
        stop(history, place.step, "by hand")
    except FloatingPointError as error:
        stop(history, place.step, error)
    model.train()
    return history

"""Checks for the exercises: one `check_...` for each, grouped by lesson."""
from gpt_helpers.checks.adamw import (
    check_adamw_step,
    check_corrected,
    check_decay_groups,
    check_learning_rate,
    check_momentum_step,
    check_weight_decay_for,
)
from gpt_helpers.checks.backprop import (
    check_accumulate,
    check_embedding_backward,
    check_layernorm_backward,
    check_linear_backward,
    check_loss_gradient,
    check_wiggle,
)
from gpt_helpers.checks.loss import (
    check_bigram_loss,
    check_cross_entropy,
    check_loader_loss,
    check_perplexity,
    check_standard_error,
    check_untrained_loss,
)
from gpt_helpers.checks.split import (
    check_count_windows,
    check_cut_points,
    check_leaked_share,
    check_smallest_text,
    check_tokens_seen,
    check_windows,
)
from gpt_helpers.checks.training_loop import (
    check_clip_gradients,
    check_early_stop,
    check_evaluate,
    check_tokens_axis,
    check_train,
    check_training_step,
)

__all__ = [
    "check_accumulate",
    "check_adamw_step",
    "check_bigram_loss",
    "check_clip_gradients",
    "check_corrected",
    "check_count_windows",
    "check_cross_entropy",
    "check_cut_points",
    "check_decay_groups",
    "check_early_stop",
    "check_embedding_backward",
    "check_evaluate",
    "check_layernorm_backward",
    "check_leaked_share",
    "check_learning_rate",
    "check_linear_backward",
    "check_loader_loss",
    "check_loss_gradient",
    "check_momentum_step",
    "check_perplexity",
    "check_smallest_text",
    "check_standard_error",
    "check_tokens_axis",
    "check_tokens_seen",
    "check_train",
    "check_training_step",
    "check_untrained_loss",
    "check_weight_decay_for",
    "check_wiggle",
    "check_windows",
]

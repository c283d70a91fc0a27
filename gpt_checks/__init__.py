"""Checks for the exercises, a module for each lesson: `from gpt_checks.loss import check_perplexity`."""

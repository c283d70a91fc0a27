"""Small helpers for the series "Training a GPT, one notebook at a time".

Import from the module where a thing lives: `from gpt_helpers.model import GPTModel`.
"""

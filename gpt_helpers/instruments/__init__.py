"""Instruments for a training: each looks at one thing, and says in a line what it found.

None trains the model that it is given, but gradients are overwritten and random numbers drawn: `diagnose.preflight` puts
everything back. Shapes: B windows of T tokens, V tokens in the vocabulary.
"""

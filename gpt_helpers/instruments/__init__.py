"""Instruments for a training run: each looks at one thing, and says in a line what it found.

They overwrite gradients and draw random numbers, and those of the optimizer and the loop take a few steps: `given.unchanged`
puts everything back. Shapes: B windows of T tokens, V tokens in the vocabulary.
"""

"""Pictures of single lessons: the lesson has the numbers, these draw them."""

# tests/nbval_tolerance.py compares notebooks; pytester runs pytest inside a test of it
pytest_plugins = ["nbval_tolerance", "pytester"]

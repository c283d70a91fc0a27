import os

if "PYTEST_XDIST_WORKER" in os.environ:      # several processes with several threads each would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# tests/nbval_tolerance.py compares notebooks; pytester runs pytest inside a test of it
pytest_plugins = ["nbval_tolerance", "still_holds", "pytester"]
collect_ignore = ["notebooks/08b_real_text.ipynb"]      # takes ten minutes: tests/test_real_text.py runs its short form

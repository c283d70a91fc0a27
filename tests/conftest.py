import pytest
import torch


def pytest_configure(config):
    """Of several workers none is to be left with the longest file at the end, so they take files in the order that follows."""
    config.option.loadscopereorder = False      # pytest-xdist would begin with the files that have the most tests


def pytest_collection_modifyitems(items):
    """Lesson 07 first: it trains for minutes."""
    items.sort(key=lambda item: item.path.name != "07_gpt2_124m.ipynb")


@pytest.fixture(autouse=True)
def one_thread_for_small_tensors(request):
    """Threads that wait for each other cost more than they give on tensors this small, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if request.node.get_closest_marker("slow") else 1)
    yield
    torch.set_num_threads(threads)

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread_for_small_tensors(request):
    """Threads that wait for each other cost more than they give on tensors this small, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if request.node.get_closest_marker("slow") else 1)
    yield
    torch.set_num_threads(threads)

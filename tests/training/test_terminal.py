"""How the commands tell that memory ran out."""

import pytest
import torch

from kompakt_training.terminal import Parser, run_command


def run(command):
    parser = Parser(prog="kompakt train")
    return run_command(parser, lambda *_: command(), [])


def allocate_on_the_cpu() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def allocate_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def allocate_an_array() -> None:
    raise MemoryError


@pytest.mark.parametrize("command", [allocate_on_the_cpu, allocate_on_a_gpu, allocate_an_array])
def test_out_of_memory_is_one_line(capsys, command):
    assert run(command) == 1

    line = "kompakt train: out of memory: lower --batch-size, or take fewer images\n"
    assert capsys.readouterr().err == line


def test_other_faults_of_pytorch_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="must match the size"):
        run(lambda: torch.ones(2) + torch.ones(3))

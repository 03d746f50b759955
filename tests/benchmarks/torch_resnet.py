"""model.py's ResNet in PyTorch, for steps.py, which starts this with an interpreter that has torch.

    python tests/benchmarks/torch_resnet.py BATCH THREADS    # then lines "float32 20" on stdin

Prints the number of parameters, then for each line the images/s of that many training steps in
that precision. Layers, loss and optimizer are those of mytrain.py, but for the average of the
weights and the learning rate's schedule, which cost next to nothing. Eager, channels last, as
PyTorch's own guide to performance on processors advises.
"""

import sys
import time

import torch
from torch import nn

PARAMETERS = 831_998  # with the moving means and variances, as Keras counts


class Block(nn.Module):
    """Two convolutions with batch normalisation, added to their input; relu stands before it."""

    def __init__(self, filters):
        super().__init__()
        self.first = nn.Conv2d(filters, filters, 3, padding=1)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)
        # Keras's epsilon; a momentum of 0.95 there is counted the other way round
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters, 1e-3, 0.05) for _ in range(2))

    def forward(self, x):
        y = self.norms[0](torch.relu(self.first(x)))
        y = self.norms[1](self.second(y))
        return torch.relu(y + x)


def res_net(n_classes=62, dropout=0.5):
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU()),  # 1x28x28 -> 32x26x26
        *(nn.Conv2d(32, 64, 3), nn.ReLU()),  # -> 64x24x24
        nn.MaxPool2d(3),  # -> 64x8x8
        *(Block(64) for _ in range(10)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU()),  # -> 64x6x6
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),  # -> 64
        *(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(256, n_classes),
    )


def count_parameters(network):
    moving = [b for name, b in network.named_buffers() if not name.endswith("num_batches_tracked")]
    return sum(values.numel() for values in [*network.parameters(), *moving])


def measure(network, optimizer, batch, precision, steps):
    """Images/s of `steps` training steps."""
    images, labels = batch
    began = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            logits = network(images)
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
    return steps * len(labels) / (time.perf_counter() - began)


def main():
    batch_size, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network = res_net().to(memory_format=torch.channels_last).train()
    assert count_parameters(network) == PARAMETERS, count_parameters(network)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05, fused=True)
    images = torch.rand(batch_size, 1, 28, 28).to(memory_format=torch.channels_last)
    batch = images, torch.randint(62, (batch_size,))
    print(torch.__version__, count_parameters(network), flush=True)
    for line in sys.stdin:
        precision, steps = line.split()
        print(measure(network, optimizer, batch, precision, int(steps)), flush=True)


if __name__ == "__main__":
    main()

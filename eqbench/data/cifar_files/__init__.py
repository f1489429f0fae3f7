"""The files of CIFAR-10 and CIFAR-100 in their Python version, as torchvision downloads and unpacks them."""

from eqbench.data.cifar_files.batches import CIFAR, FOLDERS, WHERE_TO_GET, Batch, find_cifar, read_batch

__all__ = ["CIFAR", "FOLDERS", "WHERE_TO_GET", "Batch", "find_cifar", "read_batch"]

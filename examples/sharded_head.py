"""Many classes over several processes: the body in DistributedDataParallel, the class weights shared out beside it.

Run it: torchrun --standalone --nproc_per_node 2 examples/sharded_head.py --folder saved
and again with more --steps: it goes on from the last checkpoint, with any number of processes, also without torchrun.
The batches are made up and the same whatever the number of processes is, so that the losses are, too.
"""

import argparse
import os
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel

import onsphere as osp

CLASSES, PIXELS, FEATURES, BATCH = 1000, 64, 32, 128  # BATCH: of all processes together


def batch_of(step: int, rank: int, processes: int) -> tuple[Tensor, Tensor]:
    """This process's part of a batch. Parts may differ in size, and any real loader will do instead."""
    centres = torch.randn(CLASSES, PIXELS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1 + step)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    images = centres[labels] + 0.3 * torch.randn(BATCH, PIXELS, generator=generator)
    return images[rank::processes], labels[rank::processes]


def newest(folder: Path) -> Path | None:
    """The last checkpoint that is whole: its .metadata is what is written last."""
    return max((file.parent for file in folder.glob("step-*/.metadata")), default=None)


def train(steps: int, every: int, folder: Path, sample_rate: float) -> None:
    distributed = dist.is_initialized()
    rank, processes = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

    torch.manual_seed(0)  # alike on all processes: each draws its own rows of the same weights
    body = nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, FEATURES)).to(device)
    margin = osp.CosFace(0.2)
    head = osp.ShardedAngularSoftmax(FEATURES, CLASSES, margin, scale=16.0, sample_rate=sample_rate, device=device)
    wrapped = DistributedDataParallel(body) if distributed else body
    groups = [{"params": body.parameters()}, {"params": head.parameters()}]  # the head's gradients need no averaging
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    both = nn.ModuleDict({"body": body, "head": head})

    begin = 0
    if (checkpoint := newest(folder)) is not None:
        model_state, optimizer_state = get_state_dict(both, optimizer)
        state = {"model": model_state, "optimizer": optimizer_state, "step": 0}
        dcp.load(state, checkpoint_id=checkpoint, no_dist=not distributed)  # into the tensors of this state
        set_state_dict(both, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state)
        begin = state["step"]

    for step in range(begin, steps):
        images, labels = (part.to(device) for part in batch_of(step, rank, processes))
        loss = head(wrapped(images), labels)  # every process calls, and gets the loss of the whole batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = step + 1
        if rank == 0 and (done % every == 0 or done == steps):
            print(f"step {done}, {processes} processes: loss {loss.item():.5f}", flush=True)
        if done % every == 0 or done == steps:
            model_state, optimizer_state = get_state_dict(both, optimizer)
            state = {"model": model_state, "optimizer": optimizer_state, "step": done}
            dcp.save(state, checkpoint_id=folder / f"step-{done:08d}", no_dist=not distributed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of the training in all (default: 200)")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints (default: 100)")
    parser.add_argument("--folder", type=Path, required=True, help="for the checkpoints; all processes must see it")
    parser.add_argument("--sample-rate", type=float, default=1.0, help="share of the classes a step looks at")
    given = parser.parse_args()

    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # said on saving by one process
    if "LOCAL_RANK" in os.environ:  # set by torchrun
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    train(given.steps, given.every, given.folder, given.sample_rate)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

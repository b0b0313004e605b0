#!/usr/bin/env python3
"""benches/device.rs beside PyTorch on the same GPU: eager, float32 without TF32, fused AdamW.

    cargo bench --features cuda --bench device --no-run      # prints where the program lies
    PERENNIAL_ENCODER=FOLDER python3 benches/device.py PROGRAM

It takes torch with a GPU, and transformers where PERENNIAL_ENCODER names a folder. Both get their
rows from the host and give their answers to it; rounds take turns, medians are compared.
"""

import os
import statistics
import subprocess
import sys
import time

import numpy
import torch

WIDTHS = [784, 256, 256, 10]
ROWS = [1, 256, 4096]
TEXTS = [1, 64]
TOKENS = [16, 128]
ROUNDS = 3
SECONDS = 0.2
N_TIMES = 5

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def rate(once):
    for _ in range(3):
        once()
    rates = []
    for _ in range(N_TIMES):
        started, n_done = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS or n_done == 0:
            once()
            n_done += 1
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        rates.append(n_done / (time.perf_counter() - started))
    return statistics.median(rates)


def network():
    layers = []
    for n_in, n_out in zip(WIDTHS, WIDTHS[1:]):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(DEVICE)


def forward(n_rows):
    net = network()
    x = numpy.random.default_rng(1).standard_normal((n_rows, WIDTHS[0]), dtype=numpy.float32)

    @torch.no_grad()
    def once():
        net(torch.from_numpy(x).to(DEVICE)).cpu()

    return once


def update(n_rows):
    net = network()
    fused = DEVICE.type == "cuda"
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=fused)
    x = numpy.random.default_rng(1).standard_normal((n_rows, WIDTHS[0]), dtype=numpy.float32)
    y = numpy.arange(n_rows) % WIDTHS[-1]

    def once():
        optimizer.zero_grad(set_to_none=True)
        logits = net(torch.from_numpy(x).to(DEVICE))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).to(DEVICE))
        loss.backward()
        optimizer.step()
        # An update is known to be sound before the next one.
        loss.item()

    return once


def encoder(folder, n_tokens, n_rows):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(DEVICE).eval()
    texts = [" ".join(["card"] * (n_tokens - 2))] * n_rows

    @torch.no_grad()
    def once():
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(DEVICE)
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        torch.nn.functional.normalize(mean).cpu()

    return once


def cases():
    for n_rows in ROWS:
        yield f"forward {n_rows}", lambda n_rows=n_rows: forward(n_rows)
    for n_rows in ROWS:
        yield f"update {n_rows}", lambda n_rows=n_rows: update(n_rows)
    folder = os.environ.get("PERENNIAL_ENCODER")
    for n_tokens in TOKENS if folder else []:
        for n_rows in TEXTS:
            name = f"encoder-{n_tokens} {n_rows}"
            yield name, lambda t=n_tokens, n=n_rows: encoder(folder, t, n)


def ours(program):
    words = [program, "cuda:0" if DEVICE.type == "cuda" else "candle"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    lines = (line.rsplit(" ", 1) for line in printed.splitlines())
    return {name: float(value) for name, value in lines}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    where = torch.cuda.get_device_name(0) if DEVICE.type == "cuda" else "the processor"
    print(f"torch {torch.__version__} on {where}, medians of {ROUNDS} rounds, times a second")
    theirs, mine = {}, {}
    for number in range(ROUNDS):
        for name, value in ours(sys.argv[1]).items():
            mine.setdefault(name, []).append(value)
        for name, make in cases():
            theirs.setdefault(name, []).append(rate(make()))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print(f"{'':>16} {'Perennial':>10} {'PyTorch':>10} {'ratio':>6}   spread")
    for name, values in theirs.items():
        a, b = statistics.median(mine[name]), statistics.median(values)
        spread = max(max(v) / min(v) for v in (mine[name], values)) - 1
        print(f"{name:>16} {a:10.1f} {b:10.1f} {a / b:6.2f}   {spread:.0%}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Accuracy and speed of the default learner beside three learners of MOA, on the same rows.

    python3 benches/peers.py PROGRAM [--data FOLDER] [--rows N] [--peers A,B] [STREAM ...]

It needs capymoa for Python, and Java. `perennial init` and `perennial evaluate` run with their defaults, and
so do SAMkNN, an adaptive random forest of 30 trees and streaming random patches of 30 trees, each of which
answers a row before it learns the row. Rows a CPU second are those of the whole `evaluate`, with the reading
of its file, and those of the thread of MOA, without its compiler and its garbage collector. MOA knows the
values of each category and all classes from the first row on.

A stream is the first 20,000 rows of a file of the data folder, or is generated here with a fixed seed. Standard
output gets a line of JSON for each learner of each stream, standard error a table at the end.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FILES = ["elec2", "weather", "sea", "segment", "bananas", "phishing", "adult", "intrusion"]
PEERS = ["SAMkNN", "ARF-30", "SRP-30"]
N_TREES = 30


def read_rows(path, n_rows):
    """The rows of a packed CSV whose last column is the label."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    header, rows = rows[0], rows[1 : n_rows + 1]
    return header[:-1], [row[:-1] for row in rows], [row[-1] for row in rows]


def formatted(x, labels):
    """The numbers and the class of each row, as text."""
    header = [f"x{place}" for place in range(x.shape[1])]
    return header, [[f"{value:.6g}" for value in row] for row in x], [f"c{int(label)}" for label in labels]


def letters(rng, n):
    """26 classes with three shapes each, of 16 whole numbers from 0 to 15, like those of letter recognition."""
    centres = rng.normal(7.0, 2.6, (26, 1, 16)) + rng.normal(0.0, 1.7, (26, 3, 16))
    mixing = rng.normal(0.0, 1.0, (26, 16, 16)) / 4.0
    label = rng.integers(26, size=n)
    shape = rng.integers(3, size=n)
    noise = np.einsum("nij,nj->ni", mixing[label], rng.normal(0.0, 1.9, (n, 16)))
    noise += rng.normal(0.0, 0.6, (n, 16))
    return formatted(np.clip(np.round(centres[label, shape] + noise), 0, 15), label)


def flips(rng, n):
    """A rule of three inputs of eight that is inverted at each quarter; a twentieth of the labels are wrong."""
    x = rng.random((n, 8))
    rule = (x[:, 0] + x[:, 1] > 1.0) ^ (x[:, 2] > 0.6)
    rule ^= (np.arange(n) // (n // 4)) % 2 == 1
    rule ^= rng.random(n) < 0.05
    return formatted(x, rule)


def covers(rng, n):
    """Kinds of forest along a walk through a landscape: ten numbers and two categories, alike in rows side by side."""
    frequency, phase = rng.normal(0.0, 1.0, (6, 2, 12)), rng.random((6, 12)) * 6.3
    place = np.cumsum(rng.normal(0.0, 0.03, (n, 2)), axis=0)
    jump = rng.random(n) < 0.02
    place += np.cumsum(np.where(jump[:, None], rng.normal(0.0, 2.0, (n, 2)), 0.0), axis=0)
    field = np.sin(place @ frequency + phase[:, None, :]).mean(axis=2) * 2.0
    field += rng.normal(0.0, 0.06, field.shape)
    numbers = np.column_stack(
        [
            2800 + 300 * field[0],
            180 + 90 * field[1],
            np.abs(15 * field[2]),
            np.abs(250 * field[3]),
            60 * field[0] * field[1],
            2000 + 900 * field[4],
            200 + 40 * field[1],
            220 - 30 * field[2],
            140 + 50 * field[1] * field[2],
            1900 + 800 * field[5],
        ]
    )
    numbers += rng.normal(0.0, 1.0, numbers.shape) * numbers.std(axis=0) * 0.05
    soil = np.clip(np.round(10 + 6 * field[0] + 5 * field[3] + rng.normal(0, 1.0, n)), 0, 25).astype(int)
    area = (place[:, 0] > 0).astype(int) * 2 + (place[:, 1] > 0)
    score = np.column_stack(
        [
            2.0 - 2 * np.abs(field[0] - 0.3),
            2.2 - 2 * np.abs(field[0] + 0.1),
            -1 - 4 * field[0] + 0.5 * field[3],
            -2 - 5 * field[0] + (area == 3),
            0.6 + field[1] - field[2] * field[4],
            -0.6 - 3 * field[0] - field[3],
            -0.4 + 3 * field[0] + 0.1 * (soil - 10),
        ]
    )
    label = np.argmax(score + rng.gumbel(0.0, 0.15, score.shape), axis=1)
    header = [f"n{place}" for place in range(10)] + ["area", "soil"]
    rows = [[f"{value:.5g}" for value in row] for row in numbers]
    rows = [row + [f"a{a}", f"s{s}"] for row, a, s in zip(rows, area, soil)]
    return header, rows, [f"c{one}" for one in label]


def lines_of(width, height, length):
    """The places of each straight line on a board."""
    for x in range(width):
        for y in range(height):
            for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
                last = x + (length - 1) * dx, y + (length - 1) * dy
                if last[0] < width and 0 <= last[1] < height:
                    yield [(x + step * dx) * height + y + step * dy for step in range(length)]


def noughts(rng, n):
    """Boards of tic-tac-toe at the end of a random game: whether x has a line."""
    lines = np.array(list(lines_of(3, 3, 3)))
    rows, labels = [], []
    while len(rows) < n:
        board = np.zeros(9, int)
        for turn, place in enumerate(rng.permutation(9)):
            board[place] = 1 if turn % 2 == 0 else -1
            sums = board[lines].sum(axis=1)
            if abs(sums).max() == 3:
                break
        rows.append(["xbo"[1 - place] for place in board])
        labels.append("won" if sums.max() == 3 else "not")
    return [f"p{place}" for place in range(9)], rows, labels


def connect(rng, n):
    """Boards of connect-4 after random moves: the side with more lines of four that it can still complete."""
    lines = np.array(list(lines_of(7, 6, 4)))
    rows, labels = [], []
    while len(rows) < n:
        board, heights = np.zeros(42, int), [0] * 7
        for turn in range(int(rng.integers(8, 22))):
            column = int(rng.integers(7))
            if heights[column] < 6:
                board[column * 6 + heights[column]] = 1 if turn % 2 == 0 else -1
                heights[column] += 1
        held = board[lines]
        side = [(3.0 ** (held == who).sum(axis=1) * ~(held == -who).any(axis=1)).sum() for who in (1, -1)]
        apart = side[0] - side[1]
        rows.append(["xbo"[1 - one] for one in board])
        labels.append("draw" if abs(apart) < 8 else "win" if apart > 0 else "loss")
    return [f"{'abcdefg'[place // 6]}{place % 6 + 1}" for place in range(42)], rows, labels


def moa_stream(name, options):
    """A stream of a generator of MOA."""

    def rows_of(_, n):
        from moa.streams import generators

        generator = getattr(generators, name)()
        generator.getOptions().setViaCLIString(options)
        generator.prepareForUse()
        header = generator.getHeader()
        attributes = [header.attribute(place) for place in range(header.numAttributes() - 1)]
        rows, labels = [], []
        for _ in range(n):
            row = generator.nextInstance().getData()
            texts = [
                f"{row.value(place):.6g}" if one.isNumeric() else f"v{int(row.value(place))}"
                for place, one in enumerate(attributes)
            ]
            rows.append(texts)
            labels.append(f"c{int(row.classValue())}")
        return [f"x{place}" for place in range(len(attributes))], rows, labels

    return rows_of


GENERATED = {
    "letters": letters,
    "random-tree": moa_stream("RandomTreeGenerator", "-c 4 -o 5 -u 5 -d 6"),
    "flips": flips,
    "hyperplane": moa_stream("HyperplaneGenerator", "-a 10 -k 10 -t 0.001"),
    "rbf-drift": moa_stream("RandomRBFGeneratorDrift", "-c 5 -a 10 -n 50 -s 0.0001"),
    "led": moa_stream("LEDGenerator", "-n 10"),
    "noughts": noughts,
    "connect": connect,
    "covers": covers,
}


def is_number(text):
    try:
        float(text)
        return True
    except ValueError:
        return text == "?"


def write_csv(path, header, rows, labels):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow([*header, "label"])
        out.writerows([*row, label] for row, label in zip(rows, labels))


def write_arff(path, header, rows, labels):
    quoted = lambda text: text if text == "?" or is_number(text) else "'" + text.replace("'", "\\'") + "'"
    columns = list(zip(*rows))
    with open(path, "w") as file:
        file.write("@relation rows\n")
        for name, column in zip(header, columns):
            values = sorted(set(column) - {"?"})
            kind = "numeric" if all(map(is_number, values)) else "{" + ",".join(map(quoted, values)) + "}"
            file.write(f"@attribute '{name}' {kind}\n")
        file.write("@attribute label {" + ",".join(map(quoted, sorted(set(labels)))) + "}\n@data\n")
        for row, label in zip(rows, labels):
            file.write(",".join(map(quoted, [*row, label])) + "\n")


def perennial(program, path, folder):
    """Scores and CPU seconds of the drafted model."""
    model = folder / "model"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    drafted = subprocess.run([program, "init", str(model), str(path), "--target", "label"], **pipes)
    if drafted.returncode:
        raise RuntimeError(drafted.stderr)
    command = [program, "evaluate", str(model), str(path), "--target", "label", "--json"]
    with subprocess.Popen(command, **pipes) as child:
        output = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(child.stderr.read())
    scores = json.loads(output)
    return scores, used.ru_utime + used.ru_stime


def peer(name, path):
    """Accuracy and CPU seconds of a learner of MOA."""
    from capymoa.classifier import AdaptiveRandomForestClassifier, SAMkNN, StreamingRandomPatches
    from capymoa.evaluation import prequential_evaluation
    from capymoa.stream import ARFFStream

    stream = ARFFStream(str(path))
    schema = stream.get_schema()
    learner = {
        "SAMkNN": lambda: SAMkNN(schema),
        "ARF-30": lambda: AdaptiveRandomForestClassifier(schema, ensemble_size=N_TREES),
        "SRP-30": lambda: StreamingRandomPatches(schema, ensemble_size=N_TREES),
    }[name]()
    before = time.thread_time()
    results = prequential_evaluation(stream, learner)
    return results.cumulative.accuracy() / 100.0, time.thread_time() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", help="the compiled program, or - for the peers alone")
    parser.add_argument("streams", nargs="*", help=f"of {', '.join([*FILES, *GENERATED])}")
    parser.add_argument("--data", default=os.environ.get("PERENNIAL_DATA", "../shared/data"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--peers", default=",".join(PEERS))
    args = parser.parse_args()
    import capymoa  # noqa: F401 (starts Java)

    measurements = []
    for name in args.streams or [*FILES, *GENERATED]:
        if name in GENERATED:
            rng = np.random.default_rng(1)
            header, rows, labels = GENERATED[name](rng, args.rows)
        else:
            header, rows, labels = read_rows(Path(args.data) / f"{name}.csv.gz", args.rows)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write_csv(folder / "rows.csv", header, rows, labels)
            write_arff(folder / "rows.arff", header, rows, labels)
            measured = {}
            if args.program != "-":
                scores, seconds = perennial(args.program, folder / "rows.csv", folder)
                measured["perennial"] = (scores["progressive_accuracy"], seconds)
            for one in filter(None, args.peers.split(",")):
                measured[one] = peer(one, folder / "rows.arff")
        for learner, (accuracy, seconds) in measured.items():
            line = {"stream": name, "learner": learner, "accuracy": round(accuracy, 5)}
            line["rows_per_cpu_second"] = round(len(rows) / seconds)
            print(json.dumps(line), flush=True)
        measurements.append((name, len(rows), measured))
    names = list(measurements[0][2])
    print("| stream | rows | " + " | ".join(names) + " |", file=sys.stderr)
    print("|---" * (2 + len(names)) + "|", file=sys.stderr)
    for name, n, measured in measurements:
        cells = [f"{a:.4f} ({n / s:,.0f})" for a, s in measured.values()]
        print(f"| {name} | {n:,} | " + " | ".join(cells) + " |", file=sys.stderr)


main()

#!/usr/bin/env python3
"""River's drift detectors on streams that come on standard input; benches/drift.rs calls it.

A stream is a line, `INPUTS ROWS CHANGED_AT SLOW`, and ROWS x (INPUTS + 2) little-endian doubles: the
inputs of a row, its label, and whether the answer was wrong. For each a line of JSON is printed, with
the name of a detector, the row of its first alarm from CHANGED_AT on (null: none) and how many alarms
came before. One detector watches each column. With SLOW = 0 KSWIN, which takes a hundred times as long
as the others, is left out.
"""

import json
import sys

import numpy
from river import drift


def detectors(n_streams, slow):
    """By name; those named with a bound are asked for one false alarm in 100,000 tests of all."""
    share = 1e-5 / n_streams
    yield "ADWIN", lambda: drift.ADWIN()
    yield "ADWIN, bound", lambda: drift.ADWIN(delta=share)
    yield "Page-Hinkley", lambda: drift.PageHinkley()
    for threshold in (100, 200, 400, 800):
        yield f"Page-Hinkley, {threshold}", lambda t=threshold: drift.PageHinkley(threshold=t)
    if slow:
        yield "KSWIN", lambda: drift.KSWIN(seed=1)
        yield "KSWIN, bound", lambda: drift.KSWIN(alpha=share, seed=1)


def alarms(new, columns):
    for column in columns:
        detector = new()
        for row, value in enumerate(column):
            detector.update(value)
            if detector.drift_detected:
                yield row


def main():
    source = sys.stdin.buffer
    while header := source.readline():
        n_inputs, n_rows, changed_at, slow = map(int, header.split())
        width = n_inputs + 2
        values = numpy.frombuffer(source.read(8 * n_rows * width), dtype="<f8")
        columns = [column.tolist() for column in values.reshape(n_rows, width).T]
        for name, new in detectors(width, slow):
            rows = sorted(alarms(new, columns))
            after = [row for row in rows if row >= changed_at]
            first = after[0] if after else None
            found = {"name": name, "first": first, "before": len(rows) - len(after)}
            print(json.dumps(found), flush=True)
        print("{}", flush=True)


main()
